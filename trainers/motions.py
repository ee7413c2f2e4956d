"""Motions with exact solutions, for fits that should learn their equation."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.special import ellipj, ellipk

GRAVITY = 9.81  # Over a pendulum of one metre, 1/s^2.
_AMPLITUDE = 0.75 * math.pi


@dataclasses.dataclass(frozen=True)
class Motion:
    """A solution x(t), x in R^2, of an equation dx/dt = f(x).

    Attributes:
        solution: Times (n,) to float64 states (n, 2).
        trained: Length of the trajectory that is learned from, s.
        horizon: T, where errors are measured, s.
        model: Name of the rate that is fitted, a key of `one_step.RATES`.
    """

    solution: Callable
    trained: float
    horizon: float
    model: str


def _circle(t):
    return np.stack([np.sin(t), np.cos(t)], axis=-1)


def _swing(t):
    """With k = sin(a/2) and w^2 = g: sin(theta/2) = k sn(w t + K(k)), at rest in a."""
    k, w = math.sin(_AMPLITUDE / 2), math.sqrt(GRAVITY)
    sn, cn, _, _ = ellipj(w * t + ellipk(k**2), k**2)
    return np.stack([2 * np.arcsin(k * sn), 2 * k * w * cn], axis=-1)


MOTIONS = {
    # u' = L u of cnet_tf/convergence.py, which has the fit in closed form.
    "oscillator": Motion(
        _circle,
        trained=10.0,
        horizon=10.0,
        model="linear",
    ),
    # theta'' = -g sin(theta), theta(0) = 3 pi / 4 at rest; x = (theta, theta').
    "pendulum": Motion(
        _swing,
        trained=200.0,
        horizon=2.0,
        model="mlp",
    ),
}
