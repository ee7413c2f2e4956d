"""--any_depth: members that learn beside the net."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from short_runs import After, assert_equal, weights

from cnet_tf import checkpoint, continuous_net, manifest, recalibrated, refine
from cnet_tf.any_depth import (
    member_read,
    members_of,
    reading_own_norms,
    share_scales,
    with_members,
)
from cnet_tf.surgery import normalizations
from trainers import fit, members, steps
from trainers.errors import OptionError
from trainers.interruption import Interrupted
from trainers.options import Options
from trainers.plan import Plan

NAMES = ["euler:1", "midpoint:1", "rk4:1"]
RK4 = ("rk4", 1, 2)
SETTINGS = {"batch_size": 6, "weight_decay": 0.0, "smoothing": 0.0}


@pytest.fixture
def net():
    net = continuous_net("digits", nodes=2, widths=(4,), strides=(1,))
    return with_members(net, NAMES)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(6, 8, 8, 1)), tf.float32)
    return images, tf.constant(np.arange(6), tf.int64)


def test_a_net_that_is_a_member_does_not_learn_beside_itself(net, batch):
    """A recalibrated one is: `train.py --model` may go on with it."""
    alone = continuous_net("digits", nodes=2, widths=(4,), strides=(1,))
    twin = recalibrated(manifest(alone, "euler", 1), [batch[0]])
    assert members_of(twin) == ("euler:1",)
    assert members.turns(twin) == [()] and not members.members(twin)
    deep = refine(twin, 2)  # Euler in two steps now; it reads what it read.
    np.testing.assert_array_equal(manifest(deep)(batch[0]), deep(batch[0]))
    assert members.turns(deep) == [()]
    more = with_members(twin, ["midpoint:1"])
    assert list(members.members(more)) == ["midpoint:1"]
    np.testing.assert_array_equal(more(batch[0]), twin(batch[0]))
    assert len(members.turns(net)) == 2


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("kind", ["distilled", "labels", "mixed"])
def test_the_gradient_is_that_of_the_weighted_sum(net, batch, kind):
    images, labels = batch
    member = manifest(net, "euler", 1)
    found, _ = steps.gradients(
        net,
        *batch,
        **SETTINGS,
        members=[member],
        member_weight=0.25,
        member_targets=kind,
    )
    weights = net.trainable_variables
    with tf.GradientTape() as tape:
        logits = net(images, training=True)
        short = member(images, training=True)
        # The net is not pulled towards its members.
        known = tf.constant(np.exp(log_softmax(np.array(logits))))
        share = {"labels": 1.0, "mixed": 0.5, "distilled": 0.0}[kind]
        targets = share * ops.one_hot(labels, 10) + (1 - share) * known
        own = -ops.sum(ops.one_hot(labels, 10) * ops.log_softmax(logits))
        total = own - 0.25 * ops.sum(targets * ops.log_softmax(short))
        mean = total / 6
    expected = tape.gradient(mean, [v.value for v in weights])
    for g, e in zip(found, expected, strict=True):
        e = np.zeros(g.shape) if e is None else np.array(e)
        np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-6)


def test_norms_that_nothing_read_stay_as_they_are(net, batch):
    """Neither their gradient nor weight decay moves them."""
    found, _ = steps.gradients(
        net,
        *batch,
        **SETTINGS | {"weight_decay": 0.1},
        members=[manifest(net, "euler", 1)],
        member_weight=1.0,
    )
    names = [v.name for v in net.trainable_variables]
    still = {n for n, g in zip(names, found, strict=True) if not np.any(np.array(g))}
    read = {n for n in names if "midpoint_1" not in n and "rk4_1" not in n}
    assert still >= {n for n in names if "midpoint_1" in n or "rk4_1" in n}
    assert "gamma_euler_1" in read - still and "kernel" in read - still


def test_the_cheapest_learns_always_and_the_others_in_turn(net):
    found = members.turns(net)
    manifestations = [
        [(m.get_layer("block_0").scheme, m.get_layer("block_0").steps) for m in turn]
        for turn in found
    ]
    assert manifestations == [
        [("euler", 1), ("midpoint", 1)],
        [("euler", 1), ("rk4", 1)],
    ]
    assert members.turns(continuous_net("digits")) == [()]
    alone = with_members(continuous_net("digits", nodes=2), ["euler:1"])
    assert [len(turn) for turn in members.turns(alone)] == [1]


@pytest.fixture(scope="module")
def options(short_run):
    return short_run(
        scheme="rk4",
        nodes=(2,),
        epochs=3,
        batches_per_epoch=2,
        any_depth=(("euler", 1), ("midpoint", 1), ("rk4", 1)),
        any_depth_epoch=1,
        recalibrate=1,
    )


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_bits(options, tmp_path, monkeypatch):
    """Before its members start, as they start, and between two turns."""
    summary = fit.fit(options)
    assert list(summary["test_accuracy_of_members"]) == [
        "euler:1",
        "midpoint:1",
        "rk4:1",
    ]
    whole = weights(summary["run"])
    stopped = dataclasses.replace(options, runs_dir=str(tmp_path))
    for batches in (1, 3):
        monkeypatch.setattr(fit, "Interruption", lambda _, n=batches: After(n))
        with pytest.raises(Interrupted):
            fit.fit(stopped)
        monkeypatch.undo()
    again = fit.fit(stopped)
    assert_equal(weights(again["run"]), whole)
    net = checkpoint.load(again["run"] + "/net").net
    # The net too, whose statistics are estimated anew at the end.
    assert list(members_of(net)) == [*NAMES, "rk4:2"]
    sets = [v for v in net.trainable_variables if v.name.startswith("gamma")]
    values = {v.name: np.array(v) for v in sets if "norm_0" in v.path}
    assert len(values) == 5
    different = {np.round(v, 6).tobytes() for v in values.values()}
    assert len(different) == 4  # Each has learned; what is no member reads the net's.


@pytest.mark.slow
def test_members_of_a_model_from_a_file_go_on(options, tmp_path, net):
    net = continuous_net(
        "digits", nodes=2, widths=(4,), strides=(1,), input_shape=(8, 8, 1)
    )
    with_members(net, NAMES).save(tmp_path / "net.keras")
    changes = {
        "model": str(tmp_path / "net.keras"),
        "scheme": None,
        "nodes": (),
        "epochs": 1,
        "any_depth_epoch": 0,
        "runs_dir": str(tmp_path / "runs"),
    }
    summary = fit.fit(dataclasses.replace(options, **changes))
    assert list(summary["test_accuracy_of_members"]) == NAMES
    changes["any_depth"] = (("euler", 1),)
    with pytest.raises(OptionError, match="--any_depth: expected the members of"):
        fit.fit(dataclasses.replace(options, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "resnet20"}, "--any_depth: .*depth is fixed"),
        ({"any_depth_epoch": 9}, "--any_depth_epoch: expected less than --epochs=3"),
        (
            {
                "nodes": (),
                "scheme": None,
                "grow": ((0, "euler", 2, 1), (2, "rk4", 1, 2)),
            },
            "--any_depth: .*--grow does not train.* Received rk4:1 in both",
        ),
    ],
)
def test_combinations_that_cannot_be_are_refused(options, changes, message):
    with pytest.raises(OptionError, match=message):
        dataclasses.replace(options, **changes)


def test_the_net_is_no_member_of_itself(options, tmp_path):
    changes = {"steps": (1,), "runs_dir": str(tmp_path)}
    with pytest.raises(
        OptionError, match="manifestations other than .* Received rk4:1"
    ):
        fit.fit(dataclasses.replace(options, **changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "batches"),
    [
        ({}, 20),
        ({"recalibrate": 0}, 0),
        ({"recalibrate": 3}, 3),
        ({"train_only": "head"}, 0),
    ],
)
def test_a_net_with_members_is_recalibrated_by_default(net, change, batches):
    """Whether --any_depth made them, or --model or --weights brought them."""
    plan = SimpleNamespace(options=Options(preset="digits", **change))
    assert Plan.recalibration_batches(plan, net) == batches
    alone = continuous_net("digits", widths=(4,), strides=(1,))
    assert Plan.recalibration_batches(plan, alone) == change.get("recalibrate", 0)


def test_what_is_no_member_gets_the_scales_that_learned(net, batch):
    """Those of the member that the net reads: nobody else has trained."""
    own = reading_own_norms(with_members(net, ["rk4:2"]))
    assert member_read(own) == "rk4:2"
    for v in own.trainable_variables:
        if "rk4_2" in v.path:
            v.assign(v + 0.5)
    moving = [np.array(v) for v in own.non_trainable_variables]
    before = np.array(own(batch[0]))
    euler = np.array(manifest(own, "euler", 1)(batch[0]))
    share_scales(own)
    np.testing.assert_array_equal(own(batch[0]), before)
    np.testing.assert_array_equal(manifest(own, "euler", 1)(batch[0]), euler)
    for value, kept in zip(own.non_trainable_variables, moving, strict=True):
        np.testing.assert_array_equal(value, kept)
    for norm in normalizations(own):
        shared, mine = norm.set_of(None), norm.set_of("rk4:2")
        for name in ("gamma", "beta"):
            np.testing.assert_array_equal(shared[name].variable, mine[name].variable)
