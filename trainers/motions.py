"""Motions with exact solutions, from which fits should learn the equation."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.special import ellipj, ellipk

GRAVITY = 9.81  # g / length of a pendulum of one metre, in 1/s^2.
_AMPLITUDE = 0.75 * math.pi


@dataclasses.dataclass(frozen=True)
class Motion:
    """A solution x(t), x in R^2, of an equation dx/dt = f(x).

    Attributes:
        solution: Function of times (n,) to float64 states (n, 2).
        trained: Length of the training trajectory in s.
        horizon: T, the time at which errors are measured, in s.
        model: Name of the fitted rate, a key of `one_step.RATES`.
    """

    solution: Callable
    trained: float
    horizon: float
    model: str


def _circle(t):
    return np.stack([np.sin(t), np.cos(t)], axis=-1)


def _swing(t):
    """sin(theta/2) = k sn(w t + K(k)), k = sin(a/2), w^2 = g: starts at rest at a."""
    k, w = math.sin(_AMPLITUDE / 2), math.sqrt(GRAVITY)
    sn, cn, _, _ = ellipj(w * t + ellipk(k**2), k**2)
    return np.stack([2 * np.arcsin(k * sn), 2 * k * w * cn], axis=-1)


MOTIONS = {
    # u' = L u of cnet_tf/convergence.py, which gives the fit in closed form.
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
