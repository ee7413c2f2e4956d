"""The convergence test: is a fitted one-step model a differential equation?

A rate that was fitted through one step of a scheme, to pairs u(t), u(t + D) at spacing
D, is a true rate only if other steps h, and h -> 0, give the solution too. On the
problem

    u' = L u,   L = [[0, 1], [-1, 0]],   u(0) = (0, 1),   0 <= t <= T = 10

the perfect fit needs no training. It is k = A u with

    r(A D) = exp(L D),   r the stability polynomial of the scheme,

and A = alpha I + beta L commutes with L, so one eigenvalue z = alpha + i beta suffices:
with w = u_2 + i u_1 the problem is w' = i w, w(0) = 1, and the model is w' = z w.

The error is the 2-norm of the error of the state at T, |w_N - exp(i T)|; the solution
has norm one, so this is both the absolute and the relative error. It vanishes at h = D,
and as h -> 0 it tends to a floor, |exp(A T) - exp(i T)| = O(D^p), that the fit cannot
see.

Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389.
"""

import cmath
import dataclasses
import math

from cnet_tf.tableaus import get_scheme

# Eigenvalue i of L: the generator of a true integrator.
EXACT_GENERATOR = 1j

HORIZON = 10.0

# Round-off of some thousands of float64 steps: below this, error curves say nothing.
ROUND_OFF = 1e-12

# Newton starts within O(D^(p+1)) of the root and doubles its digits: five or six
# iterations if it converges at all.
_ITERATIONS = 50


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What an error curve says; errors below the resolution are raised to it.

    Attributes:
        kind: `"integrator"`, `"impostor"` or `"neither"`.
        rate: The observed order q of error ~ h^q, just above the floor; NaN where fewer
            than two points lie above it.
        dip: The error at h = D.
        floor: The error at the smallest h.
    """

    kind: str
    rate: float
    dip: float
    floor: float


def fitted_generator(scheme, spacing: float) -> complex:
    """Returns the eigenvalue of A with r(A D) = exp(L D), by Newton from A = L.

        >>> fitted_generator("euler", 0.5) == (cmath.exp(0.5j) - 1) / 0.5
        True

    Args:
        scheme: A `ButcherTableau` or its name.
        spacing: D > 0.

    Returns:
        alpha + i beta, of A = alpha I + beta L.

    Raises:
        ValueError: unknown scheme, D <= 0, or D so large that no root lies near.
    """
    if not 0 < spacing < math.inf:
        raise ValueError(f"spacing: expected a number > 0. Received {spacing!r}.")
    r = _stability(scheme)
    derivative = [j * c for j, c in enumerate(r)][1:]
    target = cmath.exp(1j * spacing)
    z = 1j * spacing
    for _ in range(_ITERATIONS):
        correction = (_evaluate(r, z) - target) / _evaluate(derivative, z)
        z -= correction
        if abs(correction) <= 1e-15 * max(1, abs(z)):
            return z / spacing
    raise ValueError(
        f"spacing: expected a spacing for which r(A D) = exp(L D) has a root near "
        f"A = L. Received {spacing!r}; try a smaller one."
    )


def error(scheme, generator: complex, h: float) -> float:
    """|r(h A)^N - exp(i T)|, N = T/h: the error at T of the model stepped with h.

    Args:
        scheme: A `ButcherTableau` or its name.
        generator: The eigenvalue alpha + i beta of A.
        h: The step, which must divide T = 10.

    Returns:
        The 2-norm of the error of the state; infinite where the steps overflow.

    Raises:
        ValueError: unknown scheme, or h does not divide T.
    """
    steps = round(HORIZON / h) if 0 < h <= HORIZON else 0
    if steps < 1 or not math.isclose(steps * h, HORIZON, rel_tol=1e-9):
        raise ValueError(
            f"h: expected a step that divides T = {HORIZON}. Received {h!r}."
        )
    try:
        state = _evaluate(_stability(scheme), h * generator) ** steps
    except OverflowError:
        return math.inf
    return abs(state - cmath.exp(1j * HORIZON))


def floor(scheme, spacing: float) -> float:
    """|exp(A T) - exp(i T)|: the limit of the error of the fitted A as h -> 0."""
    generator = fitted_generator(scheme, spacing)
    return abs(cmath.exp(generator * HORIZON) - cmath.exp(1j * HORIZON))


def verdict(
    pairs,
    spacing: float,
    order: int = 1,
    resolution: float = ROUND_OFF,
    factor: float = 10.0,
) -> Verdict:
    """Tells an integrator from an impostor by its error curve.

    An impostor dips at h = D and rises as h -> 0: error(h -> 0) exceeds `factor` times
    the error at h = D. An integrator does not, and its error falls as h^p to a floor.
    A curve that does neither, for example a flat one, is neither.

    A fit without any error dips to round-off at h = D and is an impostor for every
    scheme, as the closed form shows; a high order is worthwhile because its floor lies
    below the accuracy to which the model was fitted. Pass that accuracy as
    `resolution`: errors below it count as equal.

    Args:
        pairs: Measured (h, error), in any order, one of them at h = D. Errors that are
            not finite (an unstable large step) are left out.
        spacing: D, the spacing of the training pairs.
        order: p, the nominal order of the scheme. An integrator shows at least p - 1/2.
        resolution: Errors below this are raised to it. Default `ROUND_OFF`.
        factor: How large a rise must be to count. Default 10.

    Raises:
        ValueError: no pair has h = D, to one per cent, or no pair has a smaller h.
    """
    points = sorted((h, max(e, resolution)) for h, e in pairs if math.isfinite(e))
    dips = [e for h, e in points if math.isclose(h, spacing, rel_tol=1e-2)]
    if not dips or points[0][0] >= 0.99 * spacing:
        raise ValueError(
            f"pairs: expected finite errors at h = spacing = {spacing} and at smaller "
            f"h. Received h = {[h for h, _ in points]}."
        )
    dip, lowest = min(dips), points[0][1]
    rate = _rate([(h, e) for h, e in points if e > factor * lowest])
    if lowest > factor * dip:
        kind = "impostor"
    elif rate >= order - 0.5:
        kind = "integrator"
    else:
        kind = "neither"
    return Verdict(kind, rate, dip, lowest)


def _rate(points):
    """Returns the slope of log error over log h, over the lowest two octaves of h."""
    if len(points) < 2:
        return math.nan
    h0, e0 = points[0]
    near = [(h, e) for h, e in points[1:] if h <= 4.01 * h0]
    h1, e1 = near[-1] if near else points[1]
    return math.log(e1 / e0) / math.log(h1 / h0)


def _stability(scheme):
    return [float(c) for c in get_scheme(scheme).stability_polynomial]


def _evaluate(polynomial, z):
    value = 0
    for coefficient in reversed(polynomial):
        value = value * z + coefficient
    return value
