"""The closed form of the convergence test, and the verdict on its error curves."""

import cmath
import math

import numpy as np
import pytest

from cnet_tf.convergence import (
    EXACT_GENERATOR,
    HORIZON,
    error,
    fitted_generator,
    floor,
    verdict,
)
from cnet_tf.runge_kutta import integrate
from cnet_tf.tableaus import SCHEMES

SPACINGS = (0.4, 0.2, 0.1, 0.05)

# The floors to three digits, for each of the spacings.
FLOORS = {
    "euler": (0.867, 0.632, 0.393, 0.221),
    "midpoint": (0.239, 0.0650, 0.0166, 0.00416),
    "rk4": (2.13e-3, 1.33e-4, 8.33e-6, 5.21e-7),
}

every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
every_spacing = pytest.mark.parametrize("spacing", SPACINGS)


def curve(scheme, generator, spacing, octaves=range(-7, 4)):
    """(h, error) at h = D 2^k, where such a step divides T."""
    pairs = []
    for k in octaves:
        h = spacing * 2.0**k
        if math.isclose(round(HORIZON / h) * h, HORIZON):
            pairs.append((h, error(scheme, generator, h)))
    return pairs


def three_digits(x):
    return float(f"{x:.3g}")


@pytest.mark.parametrize(
    ("scheme", "spacing", "expected"),
    [
        (scheme, *pair)
        for scheme, floors in FLOORS.items()
        for pair in zip(SPACINGS, floors, strict=True)
    ],
)
def test_floors(scheme, spacing, expected):
    assert three_digits(floor(scheme, spacing)) == expected
    # And the error gets there: at h = D/1024 within its O(h^p).
    generator = fitted_generator(scheme, spacing)
    assert error(scheme, generator, spacing / 1024) == pytest.approx(expected, rel=0.02)


@every_scheme
@every_spacing
def test_no_error_at_the_spacing(scheme, spacing):
    assert error(scheme, fitted_generator(scheme, spacing), spacing) < 1e-13


@every_scheme
def test_the_floor_falls_with_the_order_of_the_scheme(scheme):
    # 1/100 and 1/200 are too fine for order five in float64.
    coarse, fine = floor(scheme, 0.1), floor(scheme, 0.05)
    if scheme == "euler":
        # Not small enough for the leading term: T D/2 = 1/4.
        coarse, fine = floor(scheme, 0.01), floor(scheme, 0.005)
    assert math.log2(coarse / fine) == pytest.approx(SCHEMES[scheme].order, abs=0.1)


@pytest.mark.parametrize("spacing", [0.4, 0.05])
def test_generators_of_euler_in_closed_form(spacing):
    expected = (cmath.exp(1j * spacing) - 1) / spacing
    assert fitted_generator("euler", spacing) == pytest.approx(expected, rel=1e-14)


def _matrix(generator):
    """alpha I + beta L."""
    a, b = generator.real, generator.imag
    return np.array([[a, b], [-b, a]])


@every_scheme
def test_eigenvalues_stand_for_the_system(scheme):
    """The same in two dimensions, by the stepper: the fit, the error and the norm."""
    spacing, u0 = 0.4, np.array([0.0, 1.0])
    generator = fitted_generator(scheme, spacing)
    a = _matrix(generator)

    def exact(t):
        return np.array([math.sin(t), math.cos(t)])

    fitted = integrate(scheme, lambda t, u: a @ u, u0, 1, t1=spacing)
    np.testing.assert_allclose(fitted, exact(spacing), rtol=0, atol=1e-14)
    steps = 40
    end = integrate(scheme, lambda t, u: a @ u, u0, steps, t1=HORIZON)
    expected = np.linalg.norm(end - exact(HORIZON))
    assert error(scheme, generator, HORIZON / steps) == pytest.approx(expected)


@every_scheme
@every_spacing
def test_the_true_generator_is_an_integrator(scheme, spacing):
    order = SCHEMES[scheme].order
    steps = [spacing, *(HORIZON / 2**k for k in range(1, 15))]
    pairs = [(h, error(scheme, EXACT_GENERATOR, h)) for h in steps]
    result = verdict(pairs, spacing, order)
    assert result.kind == "integrator"
    assert result.rate == pytest.approx(order, abs=0.2)


@every_scheme
@every_spacing
def test_a_perfect_fit_is_an_impostor(scheme, spacing):
    pairs = curve(scheme, fitted_generator(scheme, spacing), spacing)
    result = verdict(pairs, spacing, SCHEMES[scheme].order)
    assert result.kind == "impostor"
    assert result.dip == 1e-12
    # Round-off leaves one digit of the smallest of these, 9e-10 of dopri5.
    assert result.floor == pytest.approx(floor(scheme, spacing), rel=0.25)


def test_a_floor_below_the_resolution_is_an_integrator():
    """Fitted to 1e-5, an RK4 net at D = 0.1 is as good as the truth; Euler is not."""
    kinds = {}
    for scheme in ("euler", "midpoint", "rk4"):
        pairs = curve(scheme, fitted_generator(scheme, 0.1), 0.1)
        result = verdict(pairs, 0.1, SCHEMES[scheme].order, resolution=1e-5)
        kinds[scheme] = result.kind
    assert kinds == {"euler": "impostor", "midpoint": "impostor", "rk4": "integrator"}


def test_verdict_on_drawn_curves():
    steps = [2.0**-k for k in range(12)]
    falling = [(h, max(h**2, 1e-4)) for h in steps]
    flat = [(h, 0.5) for h in steps]
    dip = [(h, abs(h - 0.125) + 1e-6) for h in steps]
    assert verdict(falling, 0.125, order=2).kind == "integrator"
    assert verdict(falling[::-1], 0.125, order=2).kind == "integrator"
    assert verdict(falling, 0.125, order=4).kind == "neither"
    assert verdict(flat, 0.125).kind == "neither"
    assert math.isnan(verdict(flat, 0.125).rate)
    assert verdict(dip, 0.125).kind == "impostor"
    assert verdict(dip, 0.125, factor=1e6).kind != "impostor"

    result = verdict(falling, 0.125, order=2)
    assert result.rate == pytest.approx(2)
    assert (result.dip, result.floor) == (0.125**2, 1e-4)


def test_unstable_steps_are_left_out():
    pairs = [(2.0**-k, 4.0**-k) for k in range(8)]
    wild = [(2.0, math.inf), (4.0, math.nan), *pairs]
    assert verdict(wild, 0.25, order=2) == verdict(pairs, 0.25, order=2)


def test_overflow_is_an_infinite_error():
    assert error("rk4", 1e9, 0.1) == math.inf


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(0.1, 1e-3)],
        [(0.1, 1e-3), (0.2, 1e-3)],
        [(0.01, 1e-3), (0.2, 1e-3)],
        [(0.01, 1e-3), (0.1, math.nan)],
        [(0.01, math.inf), (0.1, 1e-3)],
    ],
)
def test_curves_that_say_nothing_are_refused(pairs):
    with pytest.raises(
        ValueError, match="pairs: expected finite errors at h = spacing"
    ):
        verdict(pairs, spacing=0.1)


@pytest.mark.parametrize("h", [0.0, -0.1, 0.3, 11.0, math.nan, math.inf])
def test_steps_that_do_not_divide_the_interval_are_refused(h):
    with pytest.raises(ValueError, match="h: expected a step that divides T = 10"):
        error("euler", 1j, h)


@pytest.mark.parametrize("spacing", [0, -0.1, math.nan, math.inf])
def test_bad_spacings_are_refused(spacing):
    with pytest.raises(ValueError, match="spacing: expected a number > 0"):
        fitted_generator("euler", spacing)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fitted_generator("rk5", 0.1),
        lambda: error("rk5", 1j, 0.1),
        lambda: floor("rk5", 0.1),
    ],
)
def test_unknown_schemes_are_refused(call):
    with pytest.raises(ValueError, match="scheme: expected one of.*Received 'rk5'"):
        call()
