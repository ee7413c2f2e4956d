"""Embedded pairs estimate errors, and choose steps within a tolerance."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from trained_run import parse, save_run

from cnet_tf import ContinuousClassifier, ContinuousNet, manifest
from cnet_tf.any_depth import with_members
from cnet_tf.runge_kutta import StageTime, step, step_with_error
from cnet_tf.surgery import blocks_of
from cnet_tf.tableaus import PAIRS, SCHEMES, ButcherTableau
from cnet_tf.tolerance import steps_for_tolerance
from trainers import data as image_data
from trainers import tolerance, trained_net
from trainers.errors import OptionError
from trainers.steps import evaluate


@pytest.mark.parametrize("name", PAIRS)
def test_the_second_formula_is_one_order_lower(name):
    scheme = SCHEMES[name]
    assert scheme.second.order == scheme.order - 1


def test_a_wrong_second_formula_is_refused():
    with pytest.raises(ValueError, match="mine_embedded.*expected sum b = 1"):
        ButcherTableau("mine", [[], [1]], ["1/2", "1/2"], [0, 1], [1, 1])
    with pytest.raises(ValueError, match="mine_embedded"):
        ButcherTableau("mine", [[]], [1], [0], [0, 0, 1])


@pytest.mark.parametrize("name", PAIRS)
def test_the_estimate_is_the_difference_of_both_formulas(name):
    scheme, h = SCHEMES[name], Fraction(1, 4)

    def rate(t, x):
        return np.cos(float(t)) * (1 + x**2)

    times = [StageTime(0, c, 1, 0, h) for c in (*scheme.c, 1)]
    x, error = step_with_error(scheme, rate, 0.5, times, h)
    assert x == step(scheme, rate, 0.5, times[:-1], h)
    second = step(scheme.second, rate, 0.5, times[: scheme.second.stages], h)
    np.testing.assert_allclose(error, x - second, rtol=1e-9)


def test_a_scheme_without_a_second_formula_estimates_no_error():
    times = [StageTime(0, c, 1) for c in SCHEMES["rk4"].c]
    with pytest.raises(ValueError, match="expected one with an embedded formula.*rk4"):
        step_with_error("rk4", lambda t, x: x, 1.0, times, 1)


@pytest.fixture
def net():
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(0)
    yield ContinuousClassifier(3, width=4, nodes=2, scheme="rk4", steps=2, horizon=4)
    keras.config.set_dtype_policy("float32")


def state(net, x):
    (block,) = blocks_of(net)
    return np.array(keras.Model(net.input, net.get_layer(block.name).output)(x))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["bosh3", "dopri5"])
def test_the_error_is_within_the_tolerance(net, scheme):
    x = np.random.default_rng(0).normal(size=(16, 2))
    exact = state(manifest(net, "dopri5", 64), x)
    chosen = []
    for wanted in (0.1, 1e-4):
        (choice,) = steps_for_tolerance(net, [x], wanted, scheme)
        found = state(manifest(net, scheme, [choice.steps]), x)
        error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        assert error <= 1.3 * choice.error and choice.error <= wanted
        assert choice.steps % 2 == 0  # K = 2 cells.
        chosen.append(choice.steps)
    assert chosen[0] < chosen[1]
    # The most that any batch needs.
    calm = steps_for_tolerance(net, [0 * x, x], 1e-4, scheme)
    assert calm[0].steps == chosen[1]
    assert blocks_of(net)[0].scheme == "rk4"  # As it was.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 0.1), "data: expected at least one batch"),
        (([np.ones((1, 2))], -1), "tolerance: expected a number > 0"),
        (
            ([np.ones((1, 2))], 0.1, "rk4"),
            "scheme: expected one of heun2, bosh3",
        ),
        (([np.ones((1, 2))], 1e-300), "tolerance: expected one that N = 128 steps"),
    ],
)
def test_what_cannot_be_chosen_is_refused(net, arguments, message):
    with pytest.raises(ValueError, match=message):
        steps_for_tolerance(net, *arguments)


@pytest.mark.slow
def test_a_member_is_probed_with_the_norms_that_the_export_reads():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 6, 6, 2)).astype("float32")
    settings = {"widths": (4,), "strides": (1,), "nodes": 2, "scheme": "midpoint"}
    net = with_members(ContinuousNet(3, **settings, input_shape=(6, 6, 2)), ["euler:2"])
    for v in net.variables:
        if "moving_mean_euler_2" in v.path:
            v.assign(v + 1.0)
    of_net, of_member = (
        steps_for_tolerance(one, [images], 1e-3)
        for one in (net, manifest(net, "euler", 2))
    )
    assert of_net == of_member


@pytest.mark.slow
def test_the_command_prints_steps_to_export(tmp_path, digits_dir, capsys):
    run = save_run(tmp_path / "run", widths=(4, 4), strides=(1, 1))
    flags = [f"--run={run}", f"--data_dir={digits_dir}", "--examples=50"]
    flags.append("--batches=1")
    tolerance.main(parse([*flags, "--tolerances=0.5"], tolerance.Options))
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("| 0.5 |")]
    _, steps, evaluations, estimate, accuracy = row.strip("| ").split(" | ")
    steps = [int(n) for n in steps.split(", ")]
    assert int(evaluations) == SCHEMES["bosh3"].stages * sum(steps)
    assert f"0.5: --scheme=bosh3 --steps={','.join(map(str, steps))}" in out
    trained = trained_net.read(run)
    data = image_data.load_as_trained(trained.data, digits_dir)
    batches = image_data.recalibration_batches(data, "none", 1)
    found = steps_for_tolerance(trained.net, batches, 0.5, "bosh3")
    assert [choice.steps for choice in found] == steps
    assert estimate == f"{max(choice.error for choice in found):.1e}"
    examples = image_data.eval_batches(data, "test", 50, 50)
    score = evaluate(manifest(trained.net, "bosh3", steps), examples)["accuracy"]
    assert accuracy == f"{100 * score:.2f}"
    with pytest.raises(OptionError, match="--tolerances: tolerance: expected one"):
        tolerance.main(parse([*flags, "--tolerances=1e-9"], tolerance.Options))
