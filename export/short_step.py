"""A step of a Runge-Kutta scheme with few operations on whole states.

    y_i = x + sum_j a_ij k_j,    x' = x + sum_i b_i k_i

A stage whose state has one slope in it gives that slope back, k_j = (y_i - x) / a_ij.
With some of them put into x', x itself may drop out. For RK4

    x' = (y_2 + 2 y_3 + k_3 + k_4 / 2) / 3

is a sum of four instead of five, and in slopes k / 2 most factors are one.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterator
from fractions import Fraction

from cnet_tf.tableaus import ButcherTableau

# Coefficients by what they belong to: "x", ("y", i) or ("k", i).
Sum = dict


@dataclasses.dataclass(frozen=True)
class ShortStep:
    """A step whose slopes come as `unit` times k.

    Attributes:
        unit: That factor, without the length of the step.
        states: The sum that is the state of each stage.
        end: That of the end of the step, up to `factor`.
        factor: Of the end.
    """

    unit: Fraction
    states: tuple[Sum, ...]
    end: Sum
    factor: Fraction

    @property
    def operations(self) -> int:
        """Products and additions; equal products are one."""
        sums = (*self.states, self.end)
        products = {term for one in sums for term in one.items() if term[1] != 1}
        additions = sum(len(one) - 1 for one in sums)
        return len(products) + additions + (self.factor != 1)

    def __call__(self, x, rates):
        """The state behind the step; rates are functions of a state to a slope."""
        values, products = {"x": x}, {}

        def added(one: Sum):
            for name, c in one.items():
                if (name, c) not in products:
                    value = values[name]
                    products[name, c] = value if c == 1 else float(c) * value
            return functools.reduce(operator.add, map(products.get, one.items()))

        for i, (state, rate) in enumerate(zip(self.states, rates, strict=True)):
            values["y", i] = added(state)
            values["k", i] = rate(values["y", i])
        x = added(self.end)
        return x if self.factor == 1 else float(self.factor) * x


def short_step(tableau: ButcherTableau) -> ShortStep:
    """Finds the form of a step with the fewest operations; the plain one among equals.

    All slopes have one unit: with units of their own, fewer products are left, but a
    kernel that stages share is stored once for every unit.
    """
    return min(_forms(tableau), key=lambda step: step.operations)


def _forms(tableau) -> Iterator[ShortStep]:
    names = [("k", i) for i in range(tableau.stages)]
    uses = [c for row in (*tableau.a, tableau.b) for c in row if c != 0]
    # What slopes meet most often first, the last among equals.
    units = sorted(dict.fromkeys(reversed(uses)), key=lambda c: -uses.count(c))
    single = [
        (i, j, c)
        for i, row in enumerate(tableau.a)
        for j, c in enumerate(row)
        if c == sum(map(abs, row)) != 0
    ]
    for count in range(len(single) + 1):
        for put_in in itertools.combinations(single, count):
            end = dict(zip(names, tableau.b, strict=True))
            states = {
                ("y", i): end.pop(("k", j), Fraction(0)) / c for i, j, c in put_in
            }
            end = {"x": 1 - sum(states.values()), **states, **end}
            # Differences of states would cost digits.
            if min(end["x"], *states.values(), 0) < 0:
                continue
            factors = [Fraction(1), *filter(None, end.values())]
            for unit, factor in itertools.product(units, factors):
                rows = [dict(zip(names, row, strict=False)) for row in tableau.a]
                yield ShortStep(
                    unit,
                    tuple(_in_units({"x": Fraction(1), **row}, unit) for row in rows),
                    _in_units({name: c / factor for name, c in end.items()}, unit),
                    factor,
                )


def _in_units(one: Sum, unit) -> Sum:
    return {
        name: c / unit if name[0] == "k" else c for name, c in one.items() if c != 0
    }
