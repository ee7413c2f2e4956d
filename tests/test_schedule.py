"""Learning rates over time and optimizers by name."""

import dataclasses

import keras
import numpy as np
import pytest

from trainers.options import Options
from trainers.schedule import learning_rate, make_optimizer
from trainers.snapshots import Progress


def _rates(refined=(), diverged=(), **changes):
    options = dataclasses.replace(Options(), learning_rate=0.5, epochs=8, **changes)
    return np.array(
        [
            learning_rate(
                options,
                10,
                Progress(
                    updates=i,
                    refined=[epoch for epoch in refined if epoch * 10 <= i],
                    diverged=list(diverged),
                ),
            )
            for i in range(80)
        ]
    )


def test_step_decays_exactly_at_the_first_step_of_the_epoch():
    rates = _rates(schedule="step", decay_epochs=(2, 6), decay_factor=0.1)
    expected = np.repeat([0.5, 0.05, 0.005], [20, 40, 20])
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_cosine_goes_to_zero():
    rates = _rates(schedule="cosine")
    expected = 0.25 * (1 + np.cos(np.pi * np.arange(80) / 80))
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_without_decay_epochs_the_rate_is_constant(schedule):
    np.testing.assert_array_equal(_rates(schedule=schedule), 0.5)


def test_a_refinement_alone_does_not_change_the_rate():
    steps = {"schedule": "step", "decay_epochs": (2, 6)}
    np.testing.assert_array_equal(_rates(refined=(3,), **steps), _rates(**steps))


def test_rewarmed_the_rate_climbs_linearly_and_decays_again():
    """Refined before epochs 3 and 5, the second time while the rate is low again."""
    rates = _rates(
        refined=(3, 6), rewarm_epochs=1, schedule="step", decay_epochs=(2, 5)
    )
    climb = np.arange(1, 11) / 10
    expected = np.concatenate(
        [
            np.full(20, 0.5),
            np.full(10, 0.05),
            0.05 + 0.45 * climb,  # Epoch 3.
            np.full(10, 0.5),
            np.full(10, 0.05),
            0.05 + 0.45 * climb,  # Epoch 6.
            np.full(10, 0.5),
        ]
    )
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_rewarmed_cosine_ends_at_zero_too():
    rates = _rates(refined=(4,), rewarm_epochs=2, schedule="cosine")
    plain = _rates(schedule="cosine")
    np.testing.assert_array_equal(rates[:40], plain[:40])
    np.testing.assert_allclose(np.diff(rates[40:60]), (0.5 - plain[40]) / 20, rtol=1e-9)
    again = 0.25 * (1 + np.cos(np.pi * np.arange(20) / 20))
    np.testing.assert_allclose(rates[60:], again, rtol=1e-12)


def test_every_rollback_lowers_the_rate():
    rates = _rates(diverged=(5, 5), rollback_rate=0.1, schedule="constant")
    np.testing.assert_allclose(rates, 0.005, rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decoupled_decay_is_the_optimizers_and_l2_is_not(name):
    options = dataclasses.replace(Options(), optimizer=name, weight_decay=0.01)
    variables = [keras.Variable(np.ones(2))]
    decoupled = dataclasses.replace(options, weight_decay_mode="decoupled")
    assert make_optimizer(decoupled, variables).weight_decay == 0.01
    assert not make_optimizer(options, variables).weight_decay


def test_linear_warms_up_then_falls_to_zero():
    rates = _rates(schedule="linear", warmup_epochs=2)
    up, down = 0.5 * np.arange(1, 21) / 20, 0.5 * (1 - np.arange(60) / 60)
    np.testing.assert_allclose(rates, np.concatenate([up, down]), rtol=1e-12)


def test_one_cycle_rises_from_a_25th_and_falls_to_zero():
    rates = _rates(schedule="one_cycle", warmup_epochs=2)
    rise = 0.02 + 0.48 * (1 - np.cos(np.pi * np.arange(1, 21) / 20)) / 2
    fall = 0.25 * (1 + np.cos(np.pi * np.arange(60) / 60))
    np.testing.assert_allclose(rates, np.concatenate([rise, fall]), rtol=1e-12)
