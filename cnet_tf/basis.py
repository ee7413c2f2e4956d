"""Bases of the depth variable: theta(t) = sum_k phi_k(t) theta_k on [0, 1].

Every basis is a table of exact rational polynomials, cell by cell; evaluation,
averages and mass matrices are derived from the table, so a new basis adds data, not
branches. Time is exact: a `Fraction` with a left or right limit at the borders of
cells.
"""

import bisect
import dataclasses
import functools
import numbers
from fractions import Fraction

from cnet_tf import polynomial as poly
from cnet_tf.bounds import MOST_NODES
from cnet_tf.checks import positive_integer


@dataclasses.dataclass(frozen=True)
class Basis:
    """K functions phi_k on [0, 1], each a polynomial on every cell.

    Args:
        kind: Name of the family in `BASES`.
        size: K, the number of functions and thus of coefficients theta_k.
        breaks: Borders of the cells, 0 = t_0 < .. < t_m = 1.
        table: For every cell, the functions that do not vanish there, `{k: polynomial
            in t}`.
        nodes: K pairs (tau_j, side). In a nodal basis phi_k(tau_j) = delta_jk.
        cells: Number of equal cells of [0, 1] that the basis can tell apart. With fewer
            steps than cells, steps read averages (`average`); normalisation keeps this
            many moving statistics.
    """

    kind: str
    size: int
    breaks: tuple[Fraction, ...]
    table: tuple[dict, ...]
    nodes: tuple[tuple[Fraction, str], ...]
    cells: int

    def __eq__(self, other):
        return isinstance(other, Basis) and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    @property
    def key(self) -> tuple[str, int]:
        return self.kind, self.size

    def weights(self, t, side="right") -> tuple[Fraction, ...]:
        """Returns (phi_0(t), .., phi_{K-1}(t)), exactly.

        Args:
            t: A rational in [0, 1]. Floats are refused: they would have to be rounded
                to one side or the other of a border.
            side: `"left"` or `"right"`: the limit to take at the border of two cells.

        Raises:
            TypeError: t is a float, or anything else that is not an exact rational.
            ValueError: t is outside [0, 1], or the side is unknown.
        """
        if not isinstance(t, numbers.Rational):
            raise TypeError(
                f"t: expected an exact Fraction. Received the {type(t).__name__} {t}."
            )
        if not 0 <= t <= 1:
            raise ValueError(f"t: expected 0 <= t <= 1. Received {t}.")
        if side not in ("left", "right"):
            raise ValueError(f"side: expected 'left' or 'right'. Received {side!r}.")
        find = bisect.bisect_left if side == "left" else bisect.bisect_right
        cell = min(max(find(self.breaks, t) - 1, 0), len(self.table) - 1)
        row = [Fraction(0)] * self.size
        for k, p in self.table[cell].items():
            row[k] = poly.evaluate(p, t)
        return tuple(row)

    def average(self, t0, t1) -> tuple[Fraction, ...]:
        """Averages the phi_k over [t0, t1], exactly: (1/(t1-t0)) integral phi_k dt.

        Raises:
            ValueError: not 0 <= t0 < t1 <= 1.
        """
        t0, t1 = Fraction(t0), Fraction(t1)
        if not 0 <= t0 < t1 <= 1:
            raise ValueError(f"expected 0 <= t0 < t1 <= 1. Received [{t0}, {t1}].")
        row = [Fraction(0)] * self.size
        cells = zip(self.breaks[:-1], self.breaks[1:], self.table, strict=True)
        for left, right, functions in cells:
            low, high = max(left, t0), min(right, t1)
            if low < high:
                for k, p in functions.items():
                    row[k] += poly.integrate(p, low, high) / (t1 - t0)
        return tuple(row)

    def mass(self, other: "Basis | None" = None) -> tuple[tuple[Fraction, ...], ...]:
        """Returns the matrix of integrals of phi_j psi_k over [0, 1], exactly.

        Args:
            other: The basis of the psi_k. Default: this one, which gives the mass
                matrix.
        """
        return _mass(self, self if other is None else other)


@functools.lru_cache(maxsize=256)
def _mass(first, second):
    total = [[Fraction(0)] * second.size for _ in range(first.size)]
    borders = sorted(set(first.breaks) | set(second.breaks))
    i = j = 0
    for low, high in zip(borders[:-1], borders[1:], strict=True):
        i += first.breaks[i + 1] <= low
        j += second.breaks[j + 1] <= low
        for m, p in first.table[i].items():
            for n, q in second.table[j].items():
                total[m][n] += poly.integrate(poly.multiply(p, q), low, high)
    return tuple(tuple(row) for row in total)


def _grid(cells):
    return tuple(Fraction(i, cells) for i in range(cells + 1))


def constant(size: int) -> Basis:
    """Piecewise constants on K equal cells, phi_k = 1 on cell k: the published nets."""
    grid = _grid(size)
    table = tuple({k: (Fraction(1),)} for k in range(size))
    nodes = tuple((t, "right") for t in grid[:-1])
    return Basis("constant", size, grid, table, nodes, cells=size)


def hat(size: int) -> Basis:
    """Continuous piecewise linear functions on K-1 cells; theta_k = theta(k/(K-1))."""
    if size < 2:
        raise ValueError(f"nodes: basis 'hat' needs at least 2. Received {size}.")
    grid = _grid(size - 1)
    table = tuple(
        {k: poly.line(b, a), k + 1: poly.line(a, b)}
        for k, (a, b) in enumerate(zip(grid[:-1], grid[1:], strict=True))
    )
    nodes = tuple((t, "right") for t in grid)
    return Basis("hat", size, grid, table, nodes, cells=size - 1)


def linear(size: int) -> Basis:
    """Discontinuous piecewise linear functions on K/2 cells, two limits per cell."""
    if size < 2 or size % 2:
        raise ValueError(
            f"nodes: basis 'linear' needs an even number >= 2. Received {size}."
        )
    grid = _grid(size // 2)
    pairs = list(zip(grid[:-1], grid[1:], strict=True))
    table = tuple(
        {2 * k: poly.line(b, a), 2 * k + 1: poly.line(a, b)}
        for k, (a, b) in enumerate(pairs)
    )
    nodes = tuple(node for a, b in pairs for node in ((a, "right"), (b, "left")))
    return Basis("linear", size, grid, table, nodes, cells=size // 2)


def legendre(size: int) -> Basis:
    """Shifted Legendre polynomials P_k(2t - 1), orthogonal, phi_k(1) = 1; modal.

    (k+1) P_{k+1}(s) = (2k+1) s P_k(s) - k P_{k-1}(s) with s = 2t - 1.
    """
    s = (Fraction(-1), Fraction(2))
    functions = [(Fraction(1),), s]
    for k in range(1, size):
        ahead = poly.scale(poly.multiply(s, functions[k]), Fraction(2 * k + 1, k + 1))
        behind = poly.scale(functions[k - 1], Fraction(-k, k + 1))
        functions.append(poly.add(ahead, behind))
    table = (dict(enumerate(functions[:size])),)
    nodes = tuple((Fraction(2 * j + 1, 2 * size), "right") for j in range(size))
    return Basis("legendre", size, _grid(1), table, nodes, cells=size)


# Exact coefficients of Legendre polynomials grow: 256 of them take a second.
_MOST = {"legendre": 128}

BASES = {make.__name__: make for make in (constant, hat, linear, legendre)}


@functools.lru_cache(maxsize=1024)
def get_basis(kind: str, size: int) -> Basis:
    """Returns the basis of that kind with K = size functions.

    Raises:
        ValueError: unknown kind, or a size that the kind does not support.
    """
    if kind not in BASES:
        raise ValueError(
            f"basis: expected one of {', '.join(BASES)}. Received {kind!r}."
        )
    most = _MOST.get(kind, MOST_NODES)
    return BASES[kind](positive_integer("nodes", size, most))


def depths(size: int) -> Basis:
    """Piecewise constants on K equal cells, read at the stage times only.

    Its `cells` is 1, so nothing is averaged, however few the steps. Meant for functions
    of the state at t, such as moments, not of the step.
    """
    basis = get_basis("constant", size)
    return Basis("depths", size, basis.breaks, basis.table, basis.nodes, cells=1)


def evaluations(size: int) -> Basis:
    """One function per evaluation of a rate: phi_k = 1 at the k-th evaluation.

    Two stages at the same time, as in classical RK4, count as two. Other times read
    what `depths` gives there. Not for weights, which all manifestations share.

    Args:
        size: K = s N, the evaluations of a scheme of s stages in N steps.

    Raises:
        ValueError: see `get_basis`.
    """
    basis = depths(size)
    return _Evaluations("evaluations", size, basis.breaks, basis.table, basis.nodes, 1)


class _Evaluations(Basis):
    def weights(self, t, side="right"):
        i, s = getattr(t, "stage", None) or (None, 0)
        if s == 0 or s * t.steps != self.size:
            return super().weights(t, side)
        return tuple(Fraction(k == s * t.step + i) for k in range(self.size))
