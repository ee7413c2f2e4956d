"""Refinement leaves theta(t) unchanged, projection is the best fit; both exactly."""

import itertools
import random
from fractions import Fraction

import pytest

from cnet_tf.basis import BASES, get_basis
from cnet_tf.prolongation import projection, prolongation, refined, unity

SIZES = {
    "constant": (1, 2, 3, 5),
    "hat": (2, 3, 5),
    "linear": (2, 4, 6),
    "legendre": (1, 2, 3),
}
NODAL = ("constant", "hat", "linear")

SOURCES = [get_basis(kind, size) for kind in SIZES for size in SIZES[kind]]

# Pairs of different kinds where the second space contains the first.
NESTED = [
    (get_basis(*source), get_basis(*target))
    for source, target in (
        (("constant", 1), ("hat", 4)),
        (("constant", 3), ("linear", 6)),
        (("constant", 3), ("linear", 12)),
        (("constant", 1), ("legendre", 3)),
        (("hat", 4), ("linear", 6)),
        (("hat", 2), ("legendre", 2)),
        (("legendre", 2), ("hat", 5)),
        (("legendre", 1), ("constant", 6)),
        (("linear", 2), ("hat", 3)),
    )
]
NOT_NESTED = [
    (get_basis(*source), get_basis(*target))
    for source, target in (
        (("constant", 4), ("constant", 2)),
        (("constant", 2), ("constant", 3)),
        (("constant", 2), ("hat", 9)),
        (("constant", 2), ("legendre", 6)),
        (("hat", 3), ("hat", 4)),
        (("hat", 3), ("constant", 12)),
        (("hat", 3), ("linear", 6)),
        (("linear", 4), ("hat", 9)),
        (("linear", 4), ("linear", 6)),
        (("legendre", 3), ("legendre", 2)),
        (("legendre", 3), ("hat", 17)),
    )
]


def _pair(pair):
    return "->".join(f"{basis.kind}{basis.size}" for basis in pair)


def _name(basis):
    return f"{basis.kind}{basis.size}"


every_source = pytest.mark.parametrize("basis", SOURCES, ids=_name)
every_nested_kind = pytest.mark.parametrize("pair", NESTED, ids=_pair)

TIMES = sorted({Fraction(i, n) for n in (1, 5, 9, 12, 22) for i in range(n + 1)})


def _theta(size):
    draw = random.Random(size)
    return [Fraction(draw.randint(-999, 999), draw.randint(1, 99)) for _ in range(size)]


def _apply(matrix, theta):
    return [sum(p * x for p, x in zip(row, theta, strict=True)) for row in matrix]


def _product(a, b):
    columns = list(zip(*b, strict=True))
    return tuple(tuple(_apply(columns, row)) for row in a)


def _identity(n):
    return tuple(tuple(int(i == j) for j in range(n)) for i in range(n))


def _series(basis, theta, t, side):
    return sum(w * x for w, x in zip(basis.weights(t, side), theta, strict=True))


def _assert_same_function(source, theta, target, fine):
    for t in {*TIMES, *source.breaks, *target.breaks}:
        for side in ("left", "right"):
            before = _series(source, theta, t, side)
            assert _series(target, fine, t, side) == before, (t, side)


def _norm2(basis, theta):
    image = _apply(basis.mass(), theta)
    return sum(x * y for x, y in zip(theta, image, strict=True))


def test_the_table_of_sizes_is_complete():
    assert set(SIZES) == set(BASES)


@every_source
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_refinement_leaves_theta_unchanged(basis, factor):
    finer = refined(basis, factor)
    theta = _theta(basis.size)
    fine = _apply(prolongation(basis, finer), theta)
    assert len(fine) == finer.size
    _assert_same_function(basis, theta, finer, fine)


@every_nested_kind
def test_refinement_to_another_kind_leaves_theta_unchanged(pair):
    source, target = pair
    theta = _theta(source.size)
    fine = _apply(prolongation(source, target), theta)
    _assert_same_function(source, theta, target, fine)


def _interpolation(source, target):
    return tuple(source.weights(tau, side) for tau, side in target.nodes)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize(
    "basis", [basis for basis in SOURCES if basis.kind in NODAL], ids=_name
)
def test_nodal_refinement_reads_phi_at_the_nodes(basis, factor):
    finer = refined(basis, factor)
    assert prolongation(basis, finer) == _interpolation(basis, finer)


@pytest.mark.parametrize(
    "pair", [pair for pair in NESTED if pair[1].kind in NODAL], ids=_pair
)
def test_nodal_refinement_to_another_kind_reads_phi_at_the_nodes(pair):
    assert prolongation(*pair) == _interpolation(*pair)


@pytest.mark.parametrize(("size", "factor"), [(1, 2), (2, 4), (3, 2), (8, 2)])
def test_constants_are_copied(size, factor):
    """theta_k goes to all of its children: torch's `repeat_interleave`."""
    p = prolongation(get_basis("constant", size), get_basis("constant", factor * size))
    for j, row in enumerate(p):
        assert row == tuple(int(k == j // factor) for k in range(size))


def test_hats_are_interpolated():
    half = Fraction(1, 2)
    p = prolongation(get_basis("hat", 3), get_basis("hat", 5))
    assert p == ((1, 0, 0), (half, half, 0), (0, 1, 0), (0, half, half), (0, 0, 1))


@every_source
@pytest.mark.parametrize(("first", "second"), [(2, 2), (2, 3), (3, 2)])
def test_refinements_compose(basis, first, second):
    middle = refined(basis, first)
    last = refined(middle, second)
    assert last == refined(basis, first * second)
    in_two = _product(prolongation(middle, last), prolongation(basis, middle))
    assert in_two == prolongation(basis, last)


@every_source
@pytest.mark.parametrize("factor", [2, 3])
def test_projection_undoes_refinement(basis, factor):
    finer = refined(basis, factor)
    round_trip = _product(projection(finer, basis), prolongation(basis, finer))
    assert round_trip == _identity(basis.size)


@every_source
@pytest.mark.parametrize("factor", [2, 3])
def test_projection_is_idempotent(basis, factor):
    finer = refined(basis, factor)
    down = projection(finer, basis)
    there_and_back = _product(prolongation(basis, finer), down)
    assert _product(there_and_back, there_and_back) == there_and_back
    assert _product(down, there_and_back) == down
    # And it is a loss: the spaces differ.
    assert (there_and_back == _identity(finer.size)) == (finer == basis)


def test_projection_of_constants_averages_pairs():
    p = projection(get_basis("constant", 16), get_basis("constant", 8))
    half = Fraction(1, 2)
    for j, row in enumerate(p):
        assert row == tuple(half * int(k // 2 == j) for k in range(16))


ANY_TWO = [
    *NOT_NESTED,
    *NESTED,
    *((target, source) for source, target in NESTED),
]


@pytest.mark.parametrize("pair", ANY_TWO, ids=_pair)
def test_projection_is_the_best_fit(pair):
    """Galerkin: the residual is orthogonal to every target function, exactly."""
    source, target = pair
    theta = _theta(source.size)
    best = _apply(projection(source, target), theta)
    from_source = _apply(target.mass(source), theta)
    from_target = _apply(target.mass(), best)
    assert from_source == from_target

    def distance2(other):
        cross = _apply(source.mass(target), other)
        overlap = sum(x * y for x, y in zip(theta, cross, strict=True))
        return _norm2(source, theta) - 2 * overlap + _norm2(target, other)

    least = distance2(best)
    assert least >= 0
    for k, sign in itertools.product(range(target.size), (-1, 1)):
        other = list(best)
        other[k] += Fraction(sign, 100)
        assert distance2(other) > least
    # Pythagoras.
    assert _norm2(source, theta) == _norm2(target, best) + least


@pytest.mark.parametrize("pair", ANY_TWO, ids=_pair)
def test_projection_keeps_what_both_contain(pair):
    source, target = pair
    assert tuple(_apply(projection(source, target), unity(source))) == unity(target)


@pytest.mark.parametrize("pair", NOT_NESTED, ids=_pair)
def test_spaces_that_are_not_nested_are_refused(pair):
    source, target = pair
    expected = (
        f"basis: expected a space that contains basis '{source.kind}' with "
        rf"{source.size} nodes. Received '{target.kind}' with {target.size} nodes, "
        r"which is not nested.*Use projection \(`project`\)"
    )
    with pytest.raises(ValueError, match=expected):
        prolongation(source, target)


@every_source
def test_a_basis_to_itself_is_the_identity(basis):
    identity = _identity(basis.size)
    again = BASES[basis.kind](basis.size)
    assert prolongation(basis, again) == projection(basis, again) == identity


@every_source
@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_refined_sizes(basis, factor):
    finer = refined(basis, factor)
    assert finer.kind == basis.kind
    if basis.kind == "legendre":
        assert finer.size == factor * basis.size
    else:
        assert len(finer.breaks) - 1 == factor * (len(basis.breaks) - 1)
        assert set(basis.breaks) <= set(finer.breaks)


@pytest.mark.parametrize("factor", [0, -2, 1.5])
def test_bad_factors_are_refused(factor):
    with pytest.raises(ValueError, match="factor: expected an integer >= 1. Received"):
        refined(get_basis("constant", 2), factor)


@every_source
def test_unity(basis):
    for t in [*TIMES, *basis.breaks]:
        for side in ("left", "right"):
            assert _series(basis, unity(basis), t, side) == 1
    if basis.kind in NODAL:
        assert set(unity(basis)) == {1}
    else:
        assert unity(basis) == (1, *[0] * (basis.size - 1))
