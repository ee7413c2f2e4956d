"""Motions learned through one step: solutions, fits, error curves, the command."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from markdown_tables import cells_of
from trained_run import parse

from cnet_tf import convergence
from cnet_tf.runge_kutta import integrate
from trainers import dynamics, one_step
from trainers.errors import OptionError
from trainers.motions import GRAVITY, MOTIONS

every_motion = pytest.mark.parametrize("name", MOTIONS)
# A matrix is found in some hundred updates at this rate.
FAST = one_step.Recipe(iterations=3000, batch_size=32, learning_rate=0.01)


RATES = {
    "oscillator": lambda x: tf.stack([x[..., 1], -x[..., 0]], axis=-1),
    "pendulum": lambda x: tf.stack([x[..., 1], -GRAVITY * tf.sin(x[..., 0])], axis=-1),
}


def exact_errors(name, counts):
    """Errors at T of the exact rate, by RK4."""
    motion = MOTIONS[name]
    start, end = motion.solution(np.array([0.0, motion.horizon]))
    first = tf.constant(start.reshape(1, 1, 2))
    found = one_step.final_states(RATES[name], "rk4", first, motion.horizon, counts)
    return np.linalg.norm(found[:, 0] - end, axis=-1)


@every_motion
def test_exact_solutions_solve_their_equations(name):
    coarse, fine = exact_errors(name, (1000, 2000))
    assert 14 < coarse / fine < 18  # RK4: 2^4, down to round-off.
    assert fine < 1e-8


def test_the_pendulum_keeps_its_energy_for_all_the_time_it_is_learned_from():
    angle, speed = MOTIONS["pendulum"].solution(np.linspace(0, 200, 1001)).T
    energy = speed**2 / 2 - GRAVITY * np.cos(angle)
    np.testing.assert_allclose(energy, energy[0], atol=1e-11)
    assert (angle[0], abs(speed[0]) < 1e-12) == (pytest.approx(0.75 * np.pi), True)


def test_final_states_are_those_of_the_stepper():
    motion, rate = MOTIONS["pendulum"], RATES["pendulum"]
    start, end = motion.solution(np.array([0.0, motion.horizon]))
    found = integrate("rk4", lambda _, x: rate(x), tf.constant(start), 7, 0, 2)
    expected = np.linalg.norm(found - end)
    assert exact_errors("pendulum", (7,))[0] == pytest.approx(expected, rel=1e-12)


def test_steps_that_overflow_have_an_infinite_error():
    first = tf.ones((1, 1, 2), tf.float64)
    states = one_step.final_states(lambda x: x**9 * 1e9, "euler", first, 1, (9,))
    curve = dynamics.Curve("", "euler", 0.1, np.array([1 / 9]), states, np.zeros(2))
    assert np.isinf(curve.errors).all()


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("midpoint", 2)])
def test_a_trained_matrix_is_the_closed_form(scheme, order):
    curve = dynamics.measured("oscillator", scheme, 0.1, 2, FAST)
    np.testing.assert_allclose(curve.floors, convergence.floor(scheme, 0.1), rtol=1e-3)
    assert curve.verdicts == ["impostor"] * 2
    np.testing.assert_allclose(curve.orders, order, atol=0.1)


def test_a_rise_below_the_spacing_tells_an_impostor():
    errors = np.array([[1, 1, 1], [0.01, 0.01, 1e-3], [0.004, 0.02, 0.004]])
    states = np.stack([errors, np.zeros((3, 3))], axis=-1)
    steps = np.array([1.0, 0.1, 0.01])
    curve = dynamics.Curve("pendulum", "rk4", 0.1, steps, states, np.zeros(2))
    assert curve.verdicts == ["integrator", "integrator", "impostor"]


def test_fits_that_learned_nothing_are_neither():
    errors = np.array([[4.2, np.nan, 1], [4.2, np.nan, 0.01], [4.2, np.nan, np.nan]])
    states = np.stack([errors, np.zeros((3, 3))], axis=-1)
    steps = np.array([1.0, 0.1, 0.01])
    curve = dynamics.Curve("pendulum", "rk4", 0.1, steps, states, np.zeros(2))
    assert curve.verdicts == ["neither", "neither", "impostor"]


def test_a_seed_trains_alike_alone_and_among_others():
    states = MOTIONS["pendulum"].solution(np.arange(0, 20, 0.1))
    recipe = one_step.Recipe(iterations=50, batch_size=8, learning_rate=1e-3)
    pairs = states[:-1], states[1:]
    among, alone = (
        one_step.fit("mlp", "euler", pairs, 0.1, seeds, recipe)
        for seeds in ((0, 1), (1,))
    )
    for both, one in zip(among, alone, strict=True):
        np.testing.assert_allclose(both[1], one[0], atol=1e-13)
        assert not np.allclose(both[0], both[1])


def test_updates_are_those_of_adam_in_keras():
    states = MOTIONS["pendulum"].solution(np.arange(3.0))
    # One pair, so that every batch holds it.
    pairs = states[:1], states[1:2]
    recipe = one_step.Recipe(iterations=20, batch_size=1, learning_rate=0.01)
    found = one_step.fit("linear", "euler", pairs, 1.0, (0,), recipe)[0][0]
    first = one_step.RATES["linear"].first(np.random.default_rng(0))[0]
    matrix = keras.Variable(first, dtype="float64")
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-8)
    optimizer.build([matrix])
    for _ in range(20):
        with tf.GradientTape() as tape:
            step = pairs[0] + pairs[0] @ matrix.value
            loss = tf.reduce_mean((step - pairs[1]) ** 2)
        optimizer.apply([tape.gradient(loss, matrix.value)], [matrix])
    np.testing.assert_allclose(found, matrix, atol=1e-5)  # Its rate is a float32.


def test_the_command_writes_table_and_picture(tmp_path, capsys):
    flags = [f"--output={tmp_path}", "--motions=oscillator", "--schemes=euler"]
    few = ["--spacings=0.4", "--seeds=2", "--iterations=3"]
    dynamics.main(parse([*flags, *few], dynamics.Options))
    assert cells_of(capsys.readouterr().out)[1][:3] == ["oscillator", "euler", "0.4"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"dynamics.{kind}" for kind in ("csv", "json", "md", "png")}
    (row,) = json.loads((tmp_path / "dynamics.json").read_text())
    assert row["closed_form_floor"] == pytest.approx(0.867, abs=1e-3)
    lines = (tmp_path / "dynamics.csv").read_text().splitlines()
    assert {line.split(",")[3] for line in lines[1:]} == {"0", "1"}


def test_a_spacing_that_does_not_divide_the_time_is_refused():
    with pytest.raises(
        OptionError, match=r"--spacings: expected .* Received 0\.4, 0\.3"
    ):
        parse(["--spacings=0.4,0.3"], dynamics.Options)
