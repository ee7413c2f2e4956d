"""When the depth grows, and what becomes of the momentum."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from cnet_tf import continuous_net
from trainers import growth
from trainers.options import Options


@pytest.mark.parametrize("momentum", ["carry", "reset"])
def test_growth_carries_or_resets_the_momentum(momentum):
    net = continuous_net("digits", widths=(4,), strides=(1,))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    optimizer.apply([ops.ones(v.shape) for v in net.trainable_variables])
    new = growth.grow(growth.State(net, optimizer), 2, momentum)
    assert new.optimizer.iterations == 1
    expected = {"carry": -0.1, "reset": 0.0}[momentum]
    for slot in new.optimizer.momentums:
        np.testing.assert_allclose(ops.convert_to_numpy(slot), expected, rtol=1e-6)


def grown(options, losses, key="val_loss"):
    """(epoch, factor) of all refinements of a run with these losses."""
    history, refined, found = [], [], []
    for epoch in range(len(losses)):
        if factor := growth.factor_before(options, epoch, refined, history):
            refined.append(epoch)
            found.append((epoch, factor))
            # A run that is resumed right after it does not grow again.
            assert not growth.factor_before(options, epoch, refined, history)
        history.append({"loss": 1.0, key: losses[epoch]})
    return found


def test_at_epochs_by_one_factor_or_one_each():
    options = Options(refine_epochs=(2, 4, 5))
    assert grown(options, [0.0] * 7) == [(2, 2), (4, 2), (5, 2)]
    options = dataclasses.replace(options, refine_factor=(4, 3))
    assert grown(options, [0.0] * 7) == [(2, 4), (4, 3), (5, 3)]


PLATEAU = Options(refine="on_plateau", plateau_patience=2, plateau_delta=0.1)


@pytest.mark.parametrize("key", ["val_loss", "loss"])
def test_on_a_plateau_after_so_many_epochs_without_improvement(key):
    """0.75 is lower than 0.8, but by less than the delta."""
    assert grown(PLATEAU, [1.0, 0.8, 0.85, 0.75, 0.5], key) == [(4, 2)]


def test_not_while_the_loss_falls_by_more_than_the_delta():
    assert grown(PLATEAU, list(np.arange(10, 0, -0.2))) == []


def test_a_plateau_counts_from_the_last_refinement_and_the_times_are_limited():
    """Three epochs make a plateau: one to compare with and two that are no better."""
    assert grown(PLATEAU, [1.0] * 20) == [(3, 2), (6, 2), (9, 2)]
    once = dataclasses.replace(PLATEAU, refine_times=1, refine_factor=(3,))
    assert grown(once, [1.0] * 20) == [(3, 3)]
