"""--grow: manifestations of one field by epoch."""

import dataclasses

import numpy as np
import pytest
from keras import ops
from short_runs import After, assert_equal, weights

from cnet_tf import continuous_net, manifest, refine
from trainers import fit, growth
from trainers.errors import OptionError
from trainers.interruption import Interrupted
from trainers.options import Options
from trainers.schedule import make_optimizer

STAGES = ((0, "euler", 1, 1), (1, "midpoint", 2, 2), (2, "rk4", 1, 2))


def test_stages_come_once():
    options = Options(grow=STAGES)
    found = [growth.stage_before(options, epoch, []) for epoch in range(4)]
    assert found == [None, (2, "midpoint", 2), (1, "rk4", 1), None]
    assert growth.stage_before(options, 1, [1]) is None


def test_advance_is_refine_and_manifest():
    net = continuous_net("digits", widths=(4,), strides=(1,), nodes=1, scheme="euler")
    optimizer = make_optimizer(Options(), net.trainable_variables)
    optimizer.apply([ops.ones(v.shape) for v in net.trainable_variables])
    deep, slots = refine(net, 2, optimizer=optimizer)
    expected = manifest(deep, "midpoint", 3)
    new = growth.advance(growth.State(net, optimizer), (2, "midpoint", 3))
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("f")
    np.testing.assert_array_equal(new.net(images), expected(images))
    assert not np.allclose(new.net(images), deep(images), atol=1e-6)
    for a, b in zip(new.optimizer.variables, slots.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    same = manifest(new.net, "rk4", 1).trainable_variables
    assert [v.path for v in same] == [v.path for v in new.net.trainable_variables]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"grow": STAGES[1:]}, "--grow: .*from 0"),
        ({"grow": (STAGES[0], STAGES[0])}, "--grow: .*increasing"),
        ({"grow": ((0, "euler", 1, 2), (1, "rk4", 1, 3))}, "--grow: .*multiple"),
        ({"grow": STAGES, "refine_epochs": (2,)}, "--grow: .*--refine_epochs"),
        ({"grow": STAGES, "preset": "resnet20"}, "--grow: .*depth .*fixed"),
        ({"grow": STAGES, "basis": "hat"}, "--grow: .*'hat'"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(OptionError, match=message):
        Options(**given)


@pytest.mark.slow
def test_resume_is_bit_equal(tmp_path, digits_dir, monkeypatch):
    options = Options(
        data_dir=str(digits_dir),
        runs_dir=str(tmp_path / "whole"),
        grow=STAGES,
        batch_size=32,
        epochs=3,
        batches_per_epoch=2,
        learning_rate=0.05,
        ema=0.9,
        tensorboard=False,
        verbose=0,
    )
    whole = weights(fit.fit(options)["run"])
    stopped = dataclasses.replace(options, runs_dir=str(tmp_path / "stopped"))
    with monkeypatch.context() as patch:
        patch.setattr(fit, "Interruption", lambda _: After(4))
        with pytest.raises(Interrupted):
            fit.fit(stopped)
    assert_equal(weights(fit.fit(stopped)["run"]), whole)
