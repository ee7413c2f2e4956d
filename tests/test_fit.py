"""Training runs, small but real: growth, replay, replicas, averages, logs."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from keras import ops
from short_runs import assert_equal, weights

from cnet_tf import checkpoint, continuous_net
from cnet_tf.any_depth import member_read
from cnet_tf.paths import named_variables
from cnet_tf.surgery import blocks_of, normalizations
from trainers import epochs, fit
from trainers.errors import OptionError


@pytest.fixture
def options(short_run):
    return short_run(batches_per_epoch=6)


@pytest.mark.slow
def test_growth_in_the_middle_keeps_the_loss_continuous(options, monkeypatch):
    options = dataclasses.replace(
        options, preset="digits", epochs=3, refine_epochs=(2,)
    )
    jumps = []
    grow = epochs.grow

    def watched(state, factor, momentum):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 8, 8, 1)).astype("float32")
        new = grow(state, factor, momentum)
        before, after = state.net(x), new.net(x)
        jumps.append(np.max(np.abs(after - before)) / np.std(before))
        assert new.optimizer.iterations == state.optimizer.iterations == 12
        assert any(np.any(ops.convert_to_numpy(m)) for m in new.optimizer.momentums)
        return new

    monkeypatch.setattr(epochs, "grow", watched)
    summary = fit.fit(options)
    assert len(jumps) == 1 and jumps[0] < 0.05
    net = checkpoint.load(f"{summary['run']}/net").net
    assert [block.steps for block in blocks_of(net)] == [2, 2, 2]
    cells = ops.convert_to_numpy(blocks_of(net)[0].series[0].variable)
    assert np.all(cells[0] != cells[1])  # They were equal at the refinement.
    with open(f"{summary['run']}/log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["1", "1", "2"]
    losses = [float(row["loss"]) for row in rows]
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_does_not(options):
    first, again = (weights(fit.fit(options)["run"]) for _ in range(2))
    other = weights(fit.fit(dataclasses.replace(options, seed=1))["run"])
    assert_equal(first, again)
    assert not np.allclose(first[0], other[0])


@pytest.mark.slow
def test_half_precision_adamw_and_smoothing_train(options):
    options = dataclasses.replace(
        options,
        precision="mixed_bfloat16",
        optimizer="adamw",
        weight_decay_mode="decoupled",
        learning_rate=3e-3,
        schedule="cosine",
        label_smoothing=0.1,
        refine_epochs=(1,),
        batches_per_epoch=10,
    )
    summary = fit.fit(options)
    losses = [row["loss"] for row in _history(summary)]
    assert losses[1] < losses[0]
    net = checkpoint.load(f"{summary['run']}/net").net
    assert blocks_of(net)[0].rate.layers[0].compute_dtype == "bfloat16"
    assert {v.dtype for v in net.variables} == {"float32"}


def _history(summary):
    with open(f"{summary['run']}/summary.json") as file:
        return json.load(file)["history"]


@pytest.mark.slow
def test_depth_grows_on_plateaus(options):
    """Any two epochs are a plateau here; a run of one refinement by three."""
    summary = fit.fit(
        dataclasses.replace(
            options,
            epochs=4,
            batches_per_epoch=2,
            refine="on_plateau",
            plateau_patience=1,
            plateau_delta=1e9,
            refine_times=1,
            refine_factor=(3,),
            rewarm_epochs=1,
            decay_epochs=(1,),
        )
    )
    assert summary["refined"] == [2]
    history = _history(summary)
    assert [row["steps"] for row in history] == [1, 1, 3, 3]
    rates = [row["learning_rate"] for row in history]
    np.testing.assert_allclose(rates, [0.05, 0.005, 0.0275, 0.05])


def test_the_run_directory_tells_everything(options):
    summary = fit.fit(dataclasses.replace(options, tensorboard=True, preset="digits"))
    with open(f"{summary['run']}/summary.json") as file:
        stored = json.load(file)
    assert stored["test_accuracy"] == summary["test_accuracy"]
    assert len(_history(summary)) == 2
    assert summary["parameters"] == 44306
    read = checkpoint.load(f"{summary['run']}/net")
    assert read.metadata["data"]["name"] == "digits"
    assert len(read.metadata["data"]["mean"]) == 1


@pytest.mark.slow
def test_average_of_the_weights_ends_the_run(options):
    raw = weights(fit.fit(options)["run"])
    averaged = weights(fit.fit(dataclasses.replace(options, ema=0.9))["run"])
    assert not np.allclose(raw[0], averaged[0])
    assert all(np.all(np.isfinite(w)) for w in averaged)


@pytest.mark.slow
def test_a_run_ends_with_statistics_of_each_evaluation(options):
    options = dataclasses.replace(
        options, preset="digits", scheme="midpoint", any_depth=(("euler", 1),)
    )
    plain = fit.fit(dataclasses.replace(options, recalibrate=0))
    after = fit.fit(options)  # Nets for any depth are to run in other forms.
    old, new = (checkpoint.load(f"{found['run']}/net").net for found in (plain, after))
    assert member_read(new) == "midpoint:1" and member_read(old) is None
    kept = named_variables(new)
    for name, value in named_variables(old).items():
        # Statistics that others read are functions of depth now.
        if not name.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_array_equal(ops.convert_to_numpy(value), kept[name])
    depths = {norm.depth_cells for norm in normalizations(new)}
    assert depths == {None, 4}
    first, second = plain["test_accuracy_of_members"], after["test_accuracy_of_members"]
    assert first == second and list(second) == ["euler:1"]
    assert plain["test_loss"] != after["test_loss"]
    assert plain["parameters"] == after["parameters"]


def test_flops_count_the_multiply_adds_of_the_graph(options):
    from trainers.flops import forward_flops

    counts = []
    # With one step the factor of the slope is exactly one, and costs nothing.
    for steps in (2, 3, 4):
        net = continuous_net("digits", scheme="euler", steps=steps)
        counts.append(forward_flops(net, (8, 8, 1)))
    # One more Euler step is one more unit a block: two 3x3 convolutions at least.
    unit = sum(
        2 * 2 * 9 * c * c * n * n for c, n in zip((8, 16, 32), (8, 4, 2), strict=True)
    )
    assert unit < counts[1] - counts[0] < 1.25 * unit
    assert counts[2] - counts[1] == counts[1] - counts[0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 31, "strategy": "mirrored"}, "--batch_size: .*2 replicas"),
        ({"batch_size": 9999}, "--batch_size: expected at most"),
        ({"replicas": 64, "strategy": "mirrored"}, "--replicas: expected at most"),
        ({"strategy": "mirrored", "jit_compile": "on"}, "--jit_compile: "),
        ({"basis": "hat", "nodes": (1,)}, "basis 'hat' needs at least 2"),
        (
            {"preset": "resnet20", "scheme": "rk4"},
            "--preset and its .*scheme: expected an argument of ResNet",
        ),
        ({"runs_dir": "/proc/nowhere"}, "--runs_dir: expected a folder"),
    ],
)
def test_bad_combinations_end_before_training(options, change, message):
    with pytest.raises(OptionError, match=message) as error:
        fit.fit(dataclasses.replace(options, **change))
    assert "\n" not in str(error.value)
