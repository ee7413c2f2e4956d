"""Learning rates over time and optimizers by name."""

import dataclasses

import numpy as np
import pytest

from trainers.options import Options
from trainers.schedule import make_optimizer


def _rates(**changes):
    options = dataclasses.replace(Options(), learning_rate=0.5, epochs=8, **changes)
    optimizer = make_optimizer(options, per_epoch=10)
    rates = []
    for i in range(80):
        optimizer.iterations.assign(i)
        rates.append(float(optimizer.learning_rate))
    return np.array(rates)


def test_step_decays_exactly_at_the_first_step_of_the_epoch():
    rates = _rates(schedule="step", decay_epochs=(2, 6), decay_factor=0.1)
    expected = np.repeat([0.5, 0.05, 0.005], [20, 40, 20])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_cosine_goes_to_zero():
    rates = _rates(schedule="cosine")
    expected = 0.25 * (1 + np.cos(np.pi * np.arange(80) / 80))
    np.testing.assert_allclose(rates, expected, atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_without_decay_epochs_the_rate_is_constant(schedule):
    np.testing.assert_allclose(_rates(schedule=schedule), 0.5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decoupled_decay_is_the_optimizers_and_l2_is_not(name):
    options = dataclasses.replace(Options(), optimizer=name, weight_decay=0.01)
    decoupled = dataclasses.replace(options, weight_decay_mode="decoupled")
    assert make_optimizer(decoupled, 1).weight_decay == 0.01
    assert not make_optimizer(options, 1).weight_decay
