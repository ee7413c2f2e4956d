"""Explicit Runge-Kutta schemes as data: exact Butcher tableaus that check themselves.

    k_i = f(t + c_i h, x + h sum_{j<i} a_ij k_j),    x' = x + h sum_i b_i k_i

Everything that can be derived from (a, b, c) is derived: the number of stages, the
order of accuracy (from the rational order conditions of all rooted trees) and the
stability polynomial.

References: Butcher, Numerical Methods for Ordinary Differential Equations, 3rd ed.,
2016, sections 30-32; Hairer, Norsett, Wanner, Solving ODEs I, 1993, II.1-II.2.
"""

import dataclasses
import functools
import itertools
from fractions import Fraction

# The highest order that is tested: 37 rooted trees have up to six vertices, and no
# scheme below reaches order six.
_HIGHEST_ORDER = 6


@dataclasses.dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta scheme over exact rationals.

    Args:
        name: Key of the scheme in `SCHEMES`.
        a: Strictly lower triangle; row i holds the i numbers a_i0 .. a_i,i-1.
        b: Weights of the stages, sum b = 1.
        c: Nodes of the stages, c_i = sum_j a_ij.
        embedded: Weights b^ of a second formula of another order, whose difference from
            the first estimates the error of a step. As many numbers as there are
            stages, or one more: then the last is the weight of f at the end of the
            step, k_{s+1} = f(t + h, x'). Default: none.

    Numbers may be ints, strings such as `"1/6"` or Fractions; floats are refused,
    because the tableau is exact.

    Raises:
        ValueError: the shapes disagree, c_i != sum_j a_ij, sum b != 1 or sum b^ != 1.
    """

    name: str
    a: tuple[tuple[Fraction, ...], ...]
    b: tuple[Fraction, ...]
    c: tuple[Fraction, ...]
    embedded: tuple[Fraction, ...] = ()

    def __post_init__(self):
        exact = object.__setattr__
        exact(self, "a", tuple(_exact(self.name, row) for row in self.a))
        exact(self, "b", _exact(self.name, self.b))
        exact(self, "c", _exact(self.name, self.c))
        exact(self, "embedded", _exact(self.name, self.embedded))
        widths = [len(row) for row in self.a]
        if widths != list(range(self.stages)) or len(self.c) != self.stages:
            raise ValueError(
                f"Tableau {self.name!r}: expected rows of a with 0, 1, .. s-1 numbers "
                f"and s = {self.stages} nodes c for {self.stages} weights b. "
                f"Received rows of {widths} numbers and {len(self.c)} nodes."
            )
        for i, (row, c) in enumerate(zip(self.a, self.c, strict=True)):
            if sum(row) != c:
                raise ValueError(
                    f"Tableau {self.name!r}: expected c[{i}] = sum of row {i} of a = "
                    f"{sum(row)}. Received c[{i}] = {c}."
                )
        if sum(self.b) != 1:
            raise ValueError(
                f"Tableau {self.name!r}: expected sum b = 1. "
                f"Received sum b = {sum(self.b)}."
            )
        if self.embedded:
            _ = self.second  # Checks itself.

    @property
    def stages(self) -> int:
        """Evaluations of the rate per step, s."""
        return len(self.b)

    @property
    def second(self) -> "ButcherTableau":
        """The embedded formula as a scheme, with the same stages and its extra one."""
        return ButcherTableau(
            f"{self.name}_embedded",
            (*self.a, self.b)[: len(self.embedded)],
            self.embedded,
            (*self.c, Fraction(1))[: len(self.embedded)],
        )

    @functools.cached_property
    def order(self) -> int:
        """Order p of accuracy: b . Phi(tree) = 1/gamma(tree) for all trees up to p."""
        for p in range(1, _HIGHEST_ORDER + 1):
            for tree in rooted_trees(p):
                weight = sum(
                    b * phi for b, phi in zip(self.b, self._stage(tree), strict=True)
                )
                if weight * density(tree) != 1:
                    return p - 1
        return _HIGHEST_ORDER

    @functools.cached_property
    def shares(self) -> tuple[tuple[Fraction, Fraction], ...] | None:
        """The part of the step that each stage stands for: cells of the quadrature.

        The parts lie side by side in the order of the nodes and are b_i wide, so that
        functions of depth alone are integrated exactly by their means over the parts:
        sum_i b_i mean_i = mean. A stage of zero weight has the interval from its node
        to the next, to which its slope leads. None if some b_i is negative.
        """
        if min(self.b) < 0:
            return None
        order = sorted(range(self.stages), key=lambda i: self.c[i])
        found, end = {}, Fraction(0)
        for i, after in zip(order, (*order[1:], None), strict=True):
            start, end = end, end + self.b[i]
            next_node = Fraction(1) if after is None else self.c[after]
            found[i] = (start, end) if self.b[i] else (self.c[i], next_node)
        return tuple(found[i] for i in range(self.stages))

    @functools.cached_property
    def stability_polynomial(self) -> tuple[Fraction, ...]:
        """Coefficients of r(z), lowest first: one step of x' = lambda x is r(h lambda).

        r(z) = 1 + sum_j z^j b^T a^(j-1) 1.
        """
        coefficients, power = [Fraction(1)], [Fraction(1)] * self.stages
        for _ in range(self.stages):
            coefficients.append(
                sum((b * v for b, v in zip(self.b, power, strict=True)), Fraction(0))
            )
            power = self._times_a(power)
        return tuple(coefficients)

    def _times_a(self, v):
        # zip cuts v to the strictly lower row.
        return [
            sum((aij * vj for aij, vj in zip(row, v, strict=False)), Fraction(0))
            for row in self.a
        ]

    def _stage(self, tree):
        """Elementary weights of a tree per stage: product over branches of a . Phi."""
        phi = [Fraction(1)] * self.stages
        for branch in tree:
            below = self._times_a(self._stage(branch))
            phi = [p * q for p, q in zip(phi, below, strict=True)]
        return phi


def _exact(name, numbers):
    for x in numbers:
        if isinstance(x, float):
            raise ValueError(
                f"Tableau {name!r}: expected exact rationals, for example '1/6'. "
                f"Received the float {x}."
            )
    return tuple(Fraction(x) for x in numbers)


@functools.cache
def rooted_trees(vertices: int) -> tuple:
    """All rooted trees with that many vertices; a tree is the tuple of its branches."""
    trees = set()
    for sizes in _partitions(vertices - 1):
        for branches in itertools.product(*(rooted_trees(n) for n in sizes)):
            trees.add(tuple(sorted(branches)))
    return tuple(sorted(trees))


def _partitions(n, largest=None):
    if n == 0:
        yield ()
    for first in range(min(n, largest or n), 0, -1):
        for rest in _partitions(n - first, first):
            yield (first, *rest)


def density(tree) -> int:
    """gamma(tree): the number of vertices times the densities of the branches."""
    product = _vertices(tree)
    for branch in tree:
        product *= density(branch)
    return product


def _vertices(tree):
    return 1 + sum(_vertices(branch) for branch in tree)


def _scheme(name, a, b, embedded=""):
    """Builds a tableau from its rows of a; the nodes c are the row sums."""
    rows = [[Fraction(x) for x in row.split()] for row in ["", *a]]
    nodes = [sum(row) for row in rows]
    return ButcherTableau(name, rows, b.split(), nodes, embedded.split())


SCHEMES: dict[str, ButcherTableau] = {
    scheme.name: scheme
    for scheme in (
        _scheme("euler", [], "1"),
        _scheme("midpoint", ["1/2"], "0 1"),
        # Heun's second order rule, the explicit trapezoid; Euler's rule is embedded.
        _scheme("heun2", ["1"], "1/2 1/2", "1 0"),
        # Ralston 1962: the smallest bound on the truncation error of order two.
        _scheme("ralston2", ["2/3"], "1/4 3/4"),
        # Shu and Osher 1988: strong stability preserving.
        _scheme("ssprk3", ["1", "1/4 1/4"], "1/6 1/6 2/3"),
        _scheme("kutta3", ["1/2", "-1 2"], "1/6 2/3 1/6"),
        # Bogacki and Shampine 1989, with the weights of their second order formula.
        _scheme("bosh3", ["1/2", "0 3/4"], "2/9 1/3 4/9", "7/24 1/4 1/3 1/8"),
        # The classic rule.
        _scheme("rk4", ["1/2", "0 1/2", "0 0 1"], "1/6 1/3 1/3 1/6"),
        # Kutta's 3/8 rule, which torchdiffeq and the published PyTorch code call "rk4".
        _scheme("rk4_38", ["1/3", "-1/3 1", "1 -1 1"], "1/8 3/8 3/8 1/8"),
        # Dormand and Prince 1980, with the weights of fifth order, and those of fourth
        # order. The seventh stage serves only the error estimate, so a fixed step needs
        # six.
        _scheme(
            "dopri5",
            [
                "1/5",
                "3/40 9/40",
                "44/45 -56/15 32/9",
                "19372/6561 -25360/2187 64448/6561 -212/729",
                "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
            ],
            "35/384 0 500/1113 125/192 -2187/6784 11/84",
            "5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40",
        ),
    )
}


# Schemes that estimate their own error.
PAIRS = tuple(name for name, scheme in SCHEMES.items() if scheme.embedded)


def get_scheme(scheme: "str | ButcherTableau") -> ButcherTableau:
    """Returns the tableau of that name; a tableau passes through.

    Raises:
        ValueError: no scheme has that name.
    """
    if isinstance(scheme, ButcherTableau):
        return scheme
    if scheme not in SCHEMES:
        raise ValueError(
            f"scheme: expected one of {', '.join(SCHEMES)}. Received {scheme!r}."
        )
    return SCHEMES[scheme]
