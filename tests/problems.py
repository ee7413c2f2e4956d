"""Initial value problems for order tests: nonlinear, time dependent, closed form.

An autonomous rate would not notice a wrong stage time, a linear one not every wrong a;
and some rates are superconvergent (RK4 shows order five on x' = cos(3t) x). The
functions are smooth, because a ReLU caps the order, and chosen so that the leading term
of the error rules for every scheme: on many others, the logistic equation for one, the
fifth order of Dormand and Prince hides behind the sixth until round-off.
"""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Problem:
    """dx/dt = rate(t, x) on [t0, t1]; t and x are float64.

    Attributes:
        solution: The exact x(t), a float64 array of shape () or (d,).
    """

    name: str
    rate: Callable
    solution: Callable
    t0: float
    t1: float


def _tangent(t, x):
    return 0.4 * np.cos(t) * (1 + x**2)


def _tangent_solution(t):
    return np.tan(0.4 * np.sin(t))


def _manufactured(t, x):
    # Any f(t, x) - f(t, s(t)) + s'(t) has the solution s; here s = t + cos t.
    return np.sin(2 * x) - np.sin(2 * (t + np.cos(t))) + 1 - np.sin(t)


def _manufactured_solution(t):
    return np.asarray(t + np.cos(t))


def _spiral(t, x):
    # In polar coordinates r' = (1 + t) r (1 - r^2) / 2, angle' = 1 + cos t.
    growth, turn = (1 + t) * (1 - x @ x) / 2, 1 + np.cos(t)
    return np.array([growth * x[0] - turn * x[1], turn * x[0] + growth * x[1]])


def _spiral_solution(t):
    # r^2 is logistic in the time t + t^2/2, from r(0) = 1/2.
    r = 1 / np.sqrt(1 + 3 * np.exp(-(t + t**2 / 2)))
    angle = t + np.sin(t)
    return r * np.array([np.cos(angle), np.sin(angle)])


def _coupled(t, x):
    # Manufactured as above, with s = (sin t, exp(-t)).
    u, v = np.sin(t), np.exp(-t)
    return np.array(
        [
            np.cos(t) + t * (x[0] * x[1] - u * v),
            -v + np.tanh(x[0] - x[1]) - np.tanh(u - v),
        ]
    )


def _coupled_solution(t):
    return np.array([np.sin(t), np.exp(-t)])


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("tangent", _tangent, _tangent_solution, 0.0, 4.0),
        Problem("manufactured", _manufactured, _manufactured_solution, 0.125, 1.5),
        Problem("spiral", _spiral, _spiral_solution, 0.0, 1.0),
        Problem("coupled", _coupled, _coupled_solution, 0.0, 1.5),
    )
}
