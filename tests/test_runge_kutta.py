"""The stepper: observed orders, exact stage times, and no operation too many."""

import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from problems import PROBLEMS

from cnet_tf.runge_kutta import StageTime, integrate, stage_times, step
from cnet_tf.tableaus import SCHEMES

every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)

# Steps that bring an error of this order well below its next term and above round-off.
STEPS = {1: (128, 256), 2: (64, 128), 3: (64, 128), 4: (48, 96), 5: (32, 64)}


def _solve(scheme, problem, steps):
    x = problem.solution(problem.t0)
    return integrate(
        scheme,
        lambda t, x: problem.rate(float(t), x),
        x,
        steps,
        t0=problem.t0,
        t1=problem.t1,
    )


@every_problem
def test_problems_are_what_they_say(problem):
    h = 1e-5
    for t in np.linspace(problem.t0, problem.t1, 7):
        slope = (problem.solution(t + h) - problem.solution(t - h)) / (2 * h)
        rate = problem.rate(t, problem.solution(t))
        np.testing.assert_allclose(rate, slope, rtol=0, atol=1e-8)
        # Neither autonomous nor linear.
        assert not np.allclose(problem.rate(t + 0.1, problem.solution(t)), rate)
        x = problem.solution(t) + 0.1
        away = 0.3 * np.arange(1, x.size + 1).reshape(x.shape)
        left, right = (problem.rate(t, x + s) for s in (-away, away))
        assert not np.allclose(left + right, 2 * problem.rate(t, x), atol=1e-5)


@every_problem
@every_scheme
def test_observed_order(scheme, problem):
    truth = problem.solution(problem.t1)
    coarse, fine = (
        np.linalg.norm(np.atleast_1d(_solve(scheme, problem, n) - truth))
        for n in STEPS[scheme.order]
    )
    assert fine > 5e-13, "the error is round-off: take larger steps"
    assert math.log2(coarse / fine) == pytest.approx(scheme.order, abs=0.2)


@every_scheme
def test_polynomials_of_the_order_are_exact(scheme):
    """x' = p t^(p-1): a quadrature rule of order p makes no error."""
    p = scheme.order
    x = integrate(scheme, lambda t, x: float(p * t ** (p - 1)), 0.0, 3)
    assert x == pytest.approx(1, abs=1e-15)


@every_scheme
@pytest.mark.parametrize("steps", [1, 2, 7, 49])
@pytest.mark.parametrize(("t0", "t1"), [(0, 1), ("1/3", "5/2"), (0.25, 2.5)])
def test_stage_times_are_exact(scheme, steps, t0, t1):
    t0, t1 = (Fraction(t) if isinstance(t, str) else t for t in (t0, t1))
    times = []

    def f(t, x):
        times.append(t)
        return x

    integrate(scheme, f, 1.0, steps, t0, t1)
    assert len(times) == steps * scheme.stages
    t0, t1 = Fraction(t0), Fraction(t1)
    for i, t in enumerate(times):
        n, c = i // scheme.stages, scheme.c[i % scheme.stages]
        assert isinstance(t, Fraction)
        assert t == t0 + Fraction((n + c) * (t1 - t0), steps)
        assert (t.step, t.node, t.steps) == (n, c, steps)
        # A stage at the end of a step takes the limit from within its step.
        assert t.side == ("left" if c == 1 else "right")


def test_stage_times_at_the_borders_of_the_published_codes():
    """Where `int(t * K)` and `t - 1e-5` read the wrong cell, and N = 49 overran."""
    for n in (7, 9, 12, 14, 49, 98):
        for i in range(n):
            start, end = (StageTime(i, Fraction(c), n) for c in (0, 1))
            assert start == Fraction(i, n) and start.side == "right"
            assert end == Fraction(i + 1, n) and end.side == "left"


def test_stage_times_are_numbers():
    t = StageTime(2, Fraction(1, 2), 4)
    assert t == Fraction(5, 8) and hash(t) == hash(Fraction(5, 8))
    assert float(t) == 0.625 and type(2 * t) is Fraction


# One state of every kind; each must give the numbers that plain floats give.
KINDS = {
    "float": (float, float),
    "complex": (complex, lambda x: x.real),
    "float64": (np.float64, float),
    "array": (lambda x: np.full((2, 3), x), lambda x: float(x[1, 2])),
    "tensor": (
        lambda x: keras.ops.full((2, 3), x, dtype="float64"),
        lambda x: float(x[1, 2]),
    ),
    "tensor32": (
        lambda x: keras.ops.full((2, 3), x, dtype="float32"),
        lambda x: float(x[1, 2]),
    ),
}


@every_scheme
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_state(scheme, kind):
    make, read = KINDS[kind]

    def f(t, x):
        return float(1 + t) * x * (1 - x)

    expected = integrate(scheme, f, 0.25, 3)
    state = make(0.25)
    result = integrate(scheme, f, state, 3)
    tolerance = 1e-6 if kind == "tensor32" else 1e-15
    assert read(result) == pytest.approx(expected, rel=tolerance)
    if kind != "complex" and hasattr(state, "dtype"):
        assert result.dtype == state.dtype
        assert tuple(result.shape) == tuple(state.shape)


@every_scheme
def test_complex_states(scheme):
    z = 0.3 - 0.8j
    r = sum(float(c) * (z / 5) ** j for j, c in enumerate(scheme.stability_polynomial))
    x = integrate(scheme, lambda t, x: z * x, 1 + 0j, 5)
    assert abs(x - r**5) < 1e-14


@every_scheme
@every_problem
def test_scale_multiplies_the_rate(scheme, problem):
    x = problem.solution(problem.t0)
    scaled, by_hand = (
        integrate(
            scheme,
            lambda t, x, factor=factor: factor * problem.rate(float(t), x),
            x,
            4,
            problem.t0,
            problem.t1,
            scale=scale,
        )
        for factor, scale in ((1, Fraction(1, 2)), (0.5, 1))
    )
    np.testing.assert_allclose(scaled, by_hand, rtol=1e-14)
    assert not np.allclose(scaled, _solve(scheme, problem, 4), rtol=1e-3)


def test_scale_leaves_the_times_alone():
    times = []
    integrate("rk4", lambda t, x: times.append(t) or x, 1.0, 2, scale=10)
    assert max(times) == 1


@every_scheme
def test_there_and_back(scheme):
    """From t1 to t0 the step is negative."""

    def f(t, x):
        return math.cos(t) - x

    back = integrate(scheme, f, integrate(scheme, f, 1.0, 100), 100, t0=1, t1=0)
    assert back == pytest.approx(1, abs=3e-2)


class Counting:
    """A state that counts additions and multiplications, and allows nothing else."""

    def __init__(self, counts):
        self.counts = counts

    def __add__(self, other):
        assert isinstance(other, Counting)
        self.counts["+"] += 1
        return Counting(self.counts)

    def __rmul__(self, factor):
        assert type(factor) is float
        self.counts["*"] += 1
        return Counting(self.counts)


# Of one step: (additions, multiplications with h = 1, and with h = 1/3).
OPERATIONS = {
    "euler": (1, 0, 1),
    "midpoint": (2, 1, 2),
    "heun2": (3, 2, 3),
    "ralston2": (3, 3, 3),
    "ssprk3": (6, 5, 6),
    "kutta3": (6, 6, 6),
    "bosh3": (5, 5, 5),
    "rk4": (7, 6, 7),
    "rk4_38": (10, 7, 10),
    "dopri5": (20, 20, 20),
}


@every_scheme
@pytest.mark.parametrize("h", [Fraction(1), Fraction(1, 3)])
def test_no_operation_for_a_zero_and_no_product_with_one(scheme, h):
    counts = {"+": 0, "*": 0}
    step(scheme, lambda t, x: Counting(counts), Counting(counts), scheme.c, h)
    sums, with_one, with_third = OPERATIONS[scheme.name]
    assert counts == {"+": sums, "*": with_one if h == 1 else with_third}


def test_an_euler_step_of_scale_n_is_a_residual_network():
    """scale = N makes every step x + f: no multiplication at all, equal to the bit."""
    counts = {"+": 0, "*": 0}
    integrate("euler", lambda t, x: Counting(counts), Counting(counts), 7, scale=7)
    assert counts == {"+": 7, "*": 0}

    x = y = np.random.default_rng(0).normal(size=100).astype("float32")
    x = integrate("euler", lambda t, x: np.tanh(x), x, 7, scale=7)
    for _ in range(7):
        y = y + np.tanh(y)
    np.testing.assert_array_equal(x, y)


@every_scheme
def test_a_rate_of_scale_zero_leaves_the_state(scheme):
    x = object()
    assert integrate(scheme, lambda t, x: None, x, 3, scale=0) is x


@pytest.mark.parametrize("steps", [0, -1, 1.5, "2"])
def test_bad_steps_are_refused(steps):
    with pytest.raises(ValueError, match="steps: expected an integer >= 1. Received"):
        integrate("rk4", lambda t, x: x, 1.0, steps)


def test_unknown_schemes_are_refused():
    with pytest.raises(ValueError, match="scheme: expected one of.*Received 'rk5'"):
        integrate("rk5", lambda t, x: x, 1.0, 1)
    with pytest.raises(ValueError, match="scheme: expected one of.*Received 'rk5'"):
        step("rk5", lambda t, x: x, 1.0, [0], Fraction(1))


def test_stages_are_known_by_number_only_in_steps_over_all_of_the_depth():
    """A step over a part of it is none of a member's evaluations."""
    half = stage_times("rk4", 0, 1, 0, Fraction(1, 2))
    assert [time.stage for time in half] == [None] * 4
    assert [time.stage for time in stage_times("rk4", 1, 2)] == [
        (i, 4) for i in range(4)
    ]
