"""One stepper for all explicit schemes, which uses only + and *.

The state may be a float, an array or a tensor: nothing here checks its type. Step
counts and schemes are static, so all coefficients are Python constants when a graph is
traced. Zero coefficients add no operation and coefficients of exactly one add no
multiplication, which is why Euler with unit step is a residual network bit for bit.
"""

import itertools
from fractions import Fraction

from cnet_tf.checks import positive_integer
from cnet_tf.tableaus import ButcherTableau, get_scheme


class StageTime(Fraction):
    """The exact time t = t0 + (n + c)(t1 - t0)/N of one stage, along with its step.

    Attributes:
        step: n, 0 <= n < N.
        node: c, the node of the stage in the scheme.
        steps: N.
        stage: (i, s), stage i of the s stages of step n of N steps over [0, 1]; None
            for other times.
        share: The part of the step, within [0, 1], that its stage stands for
            (`ButcherTableau.shares`); None for other times, or if there is none.
        side: `"left"` for the stage at the end of a step (c = 1), else `"right"`: which
            limit to take where theta jumps, so that no stage reads a cell that its step
            does not touch. A step that ends within step n says so itself.
    """

    def __new__(cls, step, node, steps, t0=0, t1=1, stage=None, share=None, side=None):
        t0, t1 = Fraction(t0), Fraction(t1)
        time = super().__new__(cls, t0 + (step + node) * (t1 - t0) / steps)
        time.step, time.node, time.steps = step, node, steps
        time.stage, time.share = stage, share
        time.side = side or ("left" if node == 1 else "right")
        return time


def stage_times(scheme, step, steps, t0=0, t1=1) -> list[StageTime]:
    """Returns the times of the s stages of step n of N in [t0, t1].

    Args:
        scheme: A `ButcherTableau` or its name.
        step, steps: n and N, 0 <= n < N.
        t0, t1: The interval, exact. Defaults 0 and 1.
    """
    tableau = get_scheme(scheme)
    shares = tableau.shares or [None] * tableau.stages
    # Steps over a part of the depth are not the N steps of any manifestation.
    whole = (t0, t1) == (0, 1)
    return [
        StageTime(step, c, steps, t0, t1, (i, tableau.stages) if whole else None, share)
        for i, (c, share) in enumerate(zip(tableau.c, shares, strict=True))
    ]


def step(scheme, f, x, times, h):
    """One step of size h: x + h sum_i b_i k_i, k_i = f(t_i, x + h sum_j a_ij k_j).

    Args:
        scheme: A `ButcherTableau` or its name.
        f: `f(t, x) -> dx/dt`.
        x: The state: anything with `+` and multiplication by a float.
        times: The s stage times, passed on to f.
        h: The step size, exact (int or Fraction).

    Returns:
        The state after the step.
    """
    tableau = get_scheme(scheme)
    return advance(x, h, tableau.b, _slopes(tableau, f, x, times, h))


def step_with_error(scheme, f, x, times, h):
    """Takes a `step` with an embedded error estimate, h sum_i (b_i - b^_i) k_i.

    Args:
        scheme: A `ButcherTableau` with an embedded formula, or its name.
        f, x, h: See `step`.
        times: As for `step`, followed by the time of the end of the step.

    Returns:
        (the state after the step, an estimate of the error that the lower-order formula
        makes in this step).

    Raises:
        ValueError: unknown scheme, or one without an embedded formula.
    """
    tableau = get_scheme(scheme)
    if not tableau.embedded:
        raise ValueError(
            "scheme: expected one with an embedded formula. Received "
            f"{tableau.name!r}, which has none."
        )
    slopes, start = _slopes(tableau, f, x, times[: tableau.stages], h), x
    x = advance(x, h, tableau.b, slopes)
    if len(tableau.embedded) > tableau.stages:
        slopes.append(f(times[-1], x))
    weights = itertools.zip_longest(tableau.b, tableau.embedded, fillvalue=0)
    return x, advance(0 * start, h, [b - other for b, other in weights], slopes)


def _slopes(tableau: ButcherTableau, f, x, times, h) -> list:
    """Returns k_i = f(t_i, x + h sum_j a_ij k_j) for all stages."""
    slopes = []
    for row, t in zip(tableau.a, times, strict=True):
        slopes.append(f(t, advance(x, h, row, slopes)))
    return slopes


def integrate(scheme, f, x, steps, t0=0, t1=1, scale=1, project=None):
    """Integrates dx/dt = scale * f(t, x) from t0 to t1 in N equal steps.

    Args:
        scheme: A `ButcherTableau` or its name from `SCHEMES`.
        f: `f(t, x)`, where t is a `StageTime`: an exact Fraction, to be converted by
            `float(t)` as needed.
        x: The state at t0.
        steps: N >= 1.
        t0, t1: The interval; ints, Fractions or floats (taken as the exact binary
            rationals they are). Defaults 0 and 1.
        scale: A factor of the rate, exact like t0 and t1. Default 1.
        project: Function applied to the state after each step, such as a projection
            onto a set that the state must not leave. Default: none.

    Returns:
        The state at t1.

    Raises:
        ValueError: unknown scheme, or steps < 1.
    """
    for state in path(scheme, f, x, steps, t0, t1, scale, project):
        x = state
    return x


def path(scheme, f, x, steps, t0=0, t1=1, scale=1, project=None):
    """Yields the states after each of the N steps of `integrate`, the last one at t1.

    Arguments and errors are those of `integrate`.

    Yields:
        A state.
    """
    tableau = get_scheme(scheme)
    steps = positive_integer("steps", steps)
    h = Fraction(scale) * (Fraction(t1) - Fraction(t0)) / steps
    for n in range(steps):
        x = step(tableau, f, x, stage_times(tableau, n, steps, t0, t1), h)
        if project is not None:
            x = project(x)
        yield x


def advance(x, h, coefficients, slopes):
    """Returns x + sum_i (h coefficient_i) slope_i, skipping terms that are zero."""
    for coefficient, slope in zip(coefficients, slopes, strict=True):
        factor = h * coefficient
        if factor != 0:
            x = x + (slope if factor == 1 else float(factor) * slope)
    return x
