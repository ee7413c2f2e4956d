"""The bases of the depth variable: exact cells, partitions of one, averages, masses."""

from fractions import Fraction

import pytest

from cnet_tf.basis import BASES, Basis, get_basis
from cnet_tf.tableaus import SCHEMES

# Sizes that each kind has, small ones among them.
SIZES = {
    "constant": (1, 2, 3, 7, 12),
    "hat": (2, 3, 4, 8, 12),
    "linear": (2, 4, 6, 14),
    "legendre": (1, 2, 3, 5),
}
NODAL = ("constant", "hat", "linear")

ALL = [get_basis(kind, size) for kind in SIZES for size in SIZES[kind]]


def _bases(kinds=tuple(SIZES)):
    chosen = [basis for basis in ALL if basis.kind in kinds]
    ids = [f"{basis.kind}-{basis.size}" for basis in chosen]
    return pytest.mark.parametrize("basis", chosen, ids=ids)


every_basis = _bases()
every_nodal_basis = _bases(NODAL)

TIMES = sorted({Fraction(i, n) for n in (1, 5, 7, 12, 26, 33) for i in range(n + 1)})


def romberg(f, low, high, levels=6):
    """The integral of f(t, side) over one cell, on Fractions.

    The trapezoid rule halved `levels` times and extrapolated in h^2: exact for
    polynomials of degree 2 levels + 1, and independent of any antiderivative.
    """
    rows = []
    for level in range(levels + 1):
        n = 2**level
        h = Fraction(high - low) / n
        total = (f(low, "right") + f(high, "left")) / 2
        total += sum(f(low + i * h, "right") for i in range(1, n))
        rows.append(h * total)
    for power in range(1, levels + 1):
        q = Fraction(4**power)
        rows = [
            (q * fine - coarse) / (q - 1)
            for coarse, fine in zip(rows[:-1], rows[1:], strict=True)
        ]
    return rows[0]


def borders(*bases):
    return sorted({border for basis in bases for border in basis.breaks})


def test_the_table_of_sizes_is_complete():
    assert set(SIZES) == set(BASES)


# The distinct times (n + c)/N of all steps N <= 64 and all stages of all schemes.
STAGE_TIMES = sorted(
    {
        (n + c) / steps
        for c in {c for scheme in SCHEMES.values() for c in scheme.c}
        for steps in range(1, 65)
        for n in range(steps)
    }
)


@pytest.mark.parametrize("size", range(1, 65))
def test_cells_of_constants(size):
    """Cell floor(K t) from the right, ceil(K t) - 1 from the left, in integers.

    At every border that any N <= 64 and any node c hit, and at every eighth of the
    other times, which differ from K to K.
    """
    basis = get_basis("constant", size)
    hits = 0
    for i, t in enumerate(STAGE_TIMES):
        above, below = size * t.numerator, t.denominator
        if above % below == 0:
            hits += 1
            right = min(above // below, size - 1)
            left = max(above // below - 1, 0)
            assert basis.weights(t, "right")[right] == 1, t
            assert basis.weights(t, "left")[left] == 1, t
        elif (i + size) % 8 == 0:
            side = ("left", "right")[i // 8 % 2]
            assert basis.weights(t, side)[above // below] == 1, (t, side)
    # 0, 1 and everything between.
    assert hits == size + 1


@pytest.mark.parametrize("size", [2, 7, 49, 64])
def test_cells_have_no_tolerance(size):
    """Closer to a border than any float, on either side of it, sides do not matter."""
    basis = get_basis("constant", size)
    tiny = Fraction(1, 10**30)
    for k in range(1, size):
        for side in ("left", "right"):
            assert basis.weights(Fraction(k, size) - tiny, side)[k - 1] == 1
            assert basis.weights(Fraction(k, size) + tiny, side)[k] == 1


@every_nodal_basis
@pytest.mark.parametrize("side", ["left", "right"])
def test_nodal_bases_sum_to_one(basis, side):
    for t in [*TIMES, *basis.breaks]:
        assert sum(basis.weights(t, side)) == 1
        assert all(0 <= w <= 1 for w in basis.weights(t, side))


@_bases(["legendre"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_legendre(basis, side):
    """phi_0 = 1, phi_k(1) = 1, phi_k(0) = (-1)^k, and the closed forms up to k = 4."""
    for t in TIMES:
        s = 2 * t - 1
        closed = (
            1,
            s,
            (3 * s**2 - 1) / 2,
            (5 * s**3 - 3 * s) / 2,
            (35 * s**4 - 30 * s**2 + 3) / 8,
        )
        assert basis.weights(t, side) == closed[: basis.size]
    assert set(basis.weights(1, side)) == {1}
    assert basis.weights(0, side) == tuple((-1) ** k for k in range(basis.size))


@every_nodal_basis
def test_nodal_property(basis):
    assert len(basis.nodes) == basis.size
    for j, (tau, side) in enumerate(basis.nodes):
        row = basis.weights(tau, side)
        assert row == tuple(int(j == k) for k in range(basis.size))


@_bases(["hat"])
def test_hats_are_continuous(basis):
    for t in [*TIMES, *basis.breaks]:
        assert basis.weights(t, "left") == basis.weights(t, "right")


@_bases(["hat"])
def test_hats_interpolate(basis):
    """theta_k = theta(k/(K-1)): the series of k/(K-1) is t itself."""
    nodes = [Fraction(k, basis.size - 1) for k in range(basis.size)]
    for t in TIMES:
        assert sum(w * x for w, x in zip(basis.weights(t), nodes, strict=True)) == t


@_bases(["linear"])
def test_linear_takes_either_limit(basis):
    """On [0, 1/m] the first two functions, from the left at 1/m the second alone."""
    cells = basis.size // 2
    assert basis.weights(Fraction(1, 2 * cells))[:2] == (Fraction(1, 2),) * 2
    for i in range(1, cells):
        left = basis.weights(Fraction(i, cells), "left")
        right = basis.weights(Fraction(i, cells), "right")
        assert left.index(1) == 2 * i - 1 and right.index(1) == 2 * i


@every_basis
def test_ends_of_the_interval(basis):
    """There is no cell beyond 0 and 1: both sides give the limit from within."""
    for t in (0, 1):
        assert basis.weights(t, "left") == basis.weights(t, "right")
    assert any(basis.weights(0)) and any(basis.weights(1))


@every_basis
def test_cells_are_told_apart(basis):
    expected = {"constant": 0, "hat": -1, "linear": -basis.size // 2, "legendre": 0}
    assert basis.cells == basis.size + expected[basis.kind]


INTERVALS = [
    (Fraction(0), Fraction(1)),
    (Fraction(0), Fraction(1, 3)),
    (Fraction(2, 7), Fraction(5, 7)),
    (Fraction(1, 12), Fraction(1, 11)),
    (Fraction(5, 9), Fraction(1)),
]


@every_basis
@pytest.mark.parametrize(("t0", "t1"), INTERVALS)
def test_average_is_the_integral(basis, t0, t1):
    cuts = [t0, *[t for t in basis.breaks if t0 < t < t1], t1]
    row = basis.average(t0, t1)
    assert len(row) == basis.size
    # Degree K - 1 at most within a cell.
    levels = 2 if basis.kind == "legendre" else 1
    for k in range(basis.size):
        total = sum(
            romberg(lambda t, side, k=k: basis.weights(t, side)[k], low, high, levels)
            for low, high in zip(cuts[:-1], cuts[1:], strict=True)
        )
        assert row[k] == total / (t1 - t0)


@every_basis
@pytest.mark.parametrize("cut", [Fraction(1, 2), Fraction(3, 7), Fraction(1, 3)])
def test_average_is_additive(basis, cut):
    t0, t1 = Fraction(1, 10), Fraction(9, 10)
    parts = zip(basis.average(t0, cut), basis.average(cut, t1), strict=True)
    whole = tuple(((cut - t0) * x + (t1 - cut) * y) / (t1 - t0) for x, y in parts)
    assert basis.average(t0, t1) == whole


@_bases(["constant"])
def test_averages_of_constants(basis):
    """On its own cells a point value, on pairs of cells halves."""
    n = basis.size
    for k in range(n):
        row = basis.average(Fraction(k, n), Fraction(k + 1, n))
        assert row == tuple(int(j == k) for j in range(n))
    for k in range(n - 1):
        row = basis.average(Fraction(k, n), Fraction(k + 2, n))
        assert row == tuple(Fraction(int(j in (k, k + 1)), 2) for j in range(n))


@every_basis
@pytest.mark.parametrize(
    ("t0", "t1"), [(0, 0), (1, 0), (-1, 1), (0, 2), (Fraction(1, 2), Fraction(1, 3))]
)
def test_average_refuses_bad_intervals(basis, t0, t1):
    with pytest.raises(ValueError, match="expected 0 <= t0 < t1 <= 1. Received"):
        basis.average(t0, t1)


@every_basis
def test_mass_is_symmetric(basis):
    mass = basis.mass()
    assert mass == tuple(zip(*mass, strict=True))
    assert mass == basis.mass(basis)


@_bases(["constant"])
def test_mass_of_constants(basis):
    n = basis.size
    expected = tuple(
        tuple(Fraction(int(i == j), n) for j in range(n)) for i in range(n)
    )
    assert basis.mass() == expected


@_bases(["hat"])
def test_mass_of_hats(basis):
    """h/6 (1 4 1), and 2 h/6 in the corners."""
    n = basis.size
    h = Fraction(1, n - 1)
    for i, row in enumerate(basis.mass()):
        for j, value in enumerate(row):
            corner = i == j and i in (0, n - 1)
            expected = 2 if corner else {0: 4, 1: 1}.get(abs(i - j), 0)
            assert value == h / 6 * expected


@_bases(["linear"])
def test_mass_of_linear(basis):
    """h/6 (2 1; 1 2) on every cell."""
    h = Fraction(2, basis.size)
    for i, row in enumerate(basis.mass()):
        for j, value in enumerate(row):
            expected = (2 if i == j else 1) if i // 2 == j // 2 else 0
            assert value == h / 6 * expected


@_bases(["legendre"])
def test_mass_of_legendre(basis):
    for i, row in enumerate(basis.mass()):
        for j, value in enumerate(row):
            assert value == (Fraction(1, 2 * i + 1) if i == j else 0)


MIXED = [
    get_basis(*key)
    for key in (("constant", 3), ("hat", 3), ("linear", 4), ("legendre", 3))
]


@pytest.mark.parametrize("second", MIXED, ids=lambda basis: basis.kind)
@pytest.mark.parametrize("first", MIXED, ids=lambda basis: basis.kind)
def test_mixed_mass_is_the_integral(first, second):
    mass = first.mass(second)
    assert mass == tuple(zip(*second.mass(first), strict=True))
    cuts = borders(first, second)
    for j in range(first.size):
        for k in range(second.size):

            def product(t, side, j=j, k=k):
                return first.weights(t, side)[j] * second.weights(t, side)[k]

            cells = zip(cuts[:-1], cuts[1:], strict=True)
            assert mass[j][k] == sum(romberg(product, *cell, 2) for cell in cells)


@every_basis
@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_floats_are_refused(basis, t):
    with pytest.raises(TypeError, match="t: expected an exact Fraction. Received the"):
        basis.weights(t)


@every_basis
def test_bad_times_and_sides_are_refused(basis):
    for t in (-1, 2, Fraction(-1, 10**9), 1 + Fraction(1, 10**9)):
        with pytest.raises(ValueError, match="t: expected 0 <= t <= 1. Received"):
            basis.weights(t)
    for side in ("middle", None, "Left"):
        with pytest.raises(ValueError, match="side: expected 'left' or 'right'"):
            basis.weights(0, side)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("size", [0, -3, 2.5])
def test_bad_sizes_are_refused(kind, size):
    with pytest.raises(ValueError, match="nodes: expected an integer >= 1. Received"):
        get_basis(kind, size)


@pytest.mark.parametrize(
    ("kind", "size"), [("hat", 1), ("linear", 1), ("linear", 3), ("linear", 7)]
)
def test_sizes_that_a_kind_lacks_are_refused(kind, size):
    with pytest.raises(ValueError, match=f"nodes: basis '{kind}' needs .* {size}"):
        get_basis(kind, size)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="basis: expected one of constant, .*'cubic'"):
        get_basis("cubic", 4)


@every_basis
def test_identity_of_bases(basis):
    same = BASES[basis.kind](basis.size)
    assert same is not basis and same == basis and hash(same) == hash(basis)
    assert basis.key == (basis.kind, basis.size)
    assert basis != get_basis(basis.kind, 2 * basis.size)
    assert basis != basis.key and isinstance(basis, Basis)
