"""Steps with fewer operations have the same end."""

import numpy as np
import pytest

from cnet_tf import SCHEMES
from cnet_tf.runge_kutta import step
from cnet_tf.tableaus import ButcherTableau
from export.short_step import short_step

# Two stages that give back the same slope.
TWICE = ButcherTableau(
    "twice", ([], ["1/2"], ["1", "0"]), ("1/6", "2/3", "1/6"), (0, "1/2", 1)
)


class Counted:
    """A number that counts what is done with it."""

    count = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        Counted.count += 1
        return Counted(self.value + other.value)

    def __rmul__(self, factor):
        Counted.count += 1
        return Counted(factor * self.value)


@pytest.mark.parametrize("tableau", [*SCHEMES.values(), TWICE], ids=lambda t: t.name)
def test_the_end_is_that_of_the_scheme_with_the_operations_it_says(tableau):
    short, h = short_step(tableau), 0.3

    def rate(t):
        return lambda x: np.cos(3 * t) * x**2 + t

    def in_units(t):
        return lambda x: Counted(float(short.unit) * h * rate(t)(x.value))

    times = [float(c) for c in tableau.c]
    expected = step(tableau, lambda t, x: rate(t)(x), 0.7, times, h)
    Counted.count = 0
    found = short(Counted(0.7), map(in_units, times))
    assert found.value == pytest.approx(expected, rel=1e-14)
    assert Counted.count == short.operations


@pytest.mark.parametrize(
    "name, operations", [("euler", 1), ("midpoint", 3), ("heun2", 4), ("rk4", 9)]
)
def test_how_few_they_are(name, operations):
    assert short_step(SCHEMES[name]).operations == operations
