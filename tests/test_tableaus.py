"""Every scheme against the order conditions and the literature, exactly."""

import cmath
import dataclasses
import math
from fractions import Fraction

import pytest

from cnet_tf.runge_kutta import step
from cnet_tf.tableaus import (
    SCHEMES,
    ButcherTableau,
    density,
    get_scheme,
    rooted_trees,
)

# What the literature says: (stages, order).
KNOWN = {
    "euler": (1, 1),
    "midpoint": (2, 2),
    "heun2": (2, 2),
    "ralston2": (2, 2),
    "ssprk3": (3, 3),
    "kutta3": (3, 3),
    "rk4": (4, 4),
    "rk4_38": (4, 4),
    "bosh3": (3, 3),
    "dopri5": (6, 5),
}

every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


def _times(*vectors):
    return [math.prod(entries) for entries in zip(*vectors, strict=True)]


def _conditions(tableau):
    """The 17 conditions up to order five, typed in: {order: [(value, expected)]}.

    Hairer, Norsett, Wanner 1993, table II.2.2. Independent of `rooted_trees`.
    """
    b, c = tableau.b, tableau.c
    one = [Fraction(1)] * tableau.stages
    a = [[*row, *[0] * (tableau.stages - len(row))] for row in tableau.a]

    def dot(v):
        return sum(x * y for x, y in zip(b, v, strict=True))

    def mat(v):
        return [sum(x * y for x, y in zip(row, v, strict=True)) for row in a]

    c2, c3, ac = _times(c, c), _times(c, c, c), mat(c)
    table = {
        1: [(one, 1)],
        2: [(c, 2)],
        3: [(c2, 3), (ac, 6)],
        4: [(c3, 4), (_times(c, ac), 8), (mat(c2), 12), (mat(ac), 24)],
        5: [
            (_times(c2, c2), 5),
            (_times(c2, ac), 10),
            (_times(c, mat(c2)), 15),
            (_times(c, mat(ac)), 30),
            (_times(ac, ac), 20),
            (mat(c3), 20),
            (mat(_times(c, ac)), 40),
            (mat(mat(c2)), 60),
            (mat(mat(ac)), 120),
        ],
    }
    return {
        order: [(dot(v), Fraction(1, gamma)) for v, gamma in rows]
        for order, rows in table.items()
    }


def test_the_table_of_expectations_is_complete():
    assert set(KNOWN) == set(SCHEMES)
    assert all(name == scheme.name for name, scheme in SCHEMES.items())


@every_scheme
def test_order_and_stages(scheme):
    assert (scheme.stages, scheme.order) == KNOWN[scheme.name]


@every_scheme
def test_order_conditions(scheme):
    order = KNOWN[scheme.name][1]
    for p, rows in _conditions(scheme).items():
        holds = all(value == expected for value, expected in rows)
        if p <= order:
            assert holds, f"order {p}: {rows}"
        elif p == order + 1:
            assert not holds, f"order {p} holds too"


def test_number_of_rooted_trees():
    # OEIS A000081.
    assert [len(rooted_trees(n)) for n in range(1, 8)] == [1, 1, 2, 4, 9, 20, 48]


@pytest.mark.parametrize("n", range(1, 8))
def test_densities_of_the_extreme_trees(n):
    trees = {density(tree) for tree in rooted_trees(n)}
    # The bushy tree has n, the tall one n!.
    assert min(trees) == n
    assert max(trees) == math.factorial(n)


def test_densities_of_order_five():
    gammas = sorted(density(tree) for tree in rooted_trees(5))
    assert gammas == [5, 10, 15, 20, 20, 30, 40, 60, 120]


@every_scheme
@pytest.mark.parametrize("z", [0.7, -1.3, 0.5j, -0.4 + 0.9j, 2 - 1.5j])
def test_stability_polynomial_is_one_step(scheme, z):
    h = Fraction(1, 4)
    slope = z / float(h)
    result = step(scheme, lambda t, x: slope * x, 1 + 0j, scheme.c, h)
    r = sum(float(c) * z**j for j, c in enumerate(scheme.stability_polynomial))
    assert abs(result - r) < 1e-14 * max(1, abs(r))


@every_scheme
def test_stability_polynomial_begins_like_the_exponential(scheme):
    r = scheme.stability_polynomial
    p = KNOWN[scheme.name][1]
    assert len(r) == scheme.stages + 1
    assert r[: p + 1] == tuple(Fraction(1, math.factorial(j)) for j in range(p + 1))
    z = 1e-2j
    value = sum(float(c) * z**j for j, c in enumerate(r))
    assert abs(value - cmath.exp(z)) < abs(z) ** (p + 1)


def test_stability_polynomial_of_dopri5():
    assert SCHEMES["dopri5"].stability_polynomial[6] == Fraction(1, 600)


@every_scheme
def test_every_coefficient_matters(scheme):
    """A slip in any a or b lowers the derived order; the nodes follow the slip."""
    slip = Fraction(1, 1000)
    for i, row in enumerate(scheme.a):
        for j in range(len(row)):
            a = [list(row) for row in scheme.a]
            a[i][j] += slip
            wrong = ButcherTableau("wrong", a, scheme.b, [sum(row) for row in a])
            assert wrong.order < scheme.order, f"a[{i}][{j}]"
    for i in range(scheme.stages):
        for j in range(i):
            b = list(scheme.b)
            b[i] += slip
            b[j] -= slip
            wrong = dataclasses.replace(scheme, b=b)
            assert wrong.order < scheme.order, f"b[{i}], b[{j}]"


@every_scheme
def test_a_slip_alone_is_refused(scheme):
    slip = Fraction(1, 1000)
    for i in range(scheme.stages):
        b = list(scheme.b)
        b[i] += slip
        with pytest.raises(
            ValueError, match="expected sum b = 1. Received sum b = 1001"
        ):
            dataclasses.replace(scheme, b=b)
        c = list(scheme.c)
        c[i] += slip
        with pytest.raises(ValueError, match=rf"expected c\[{i}\] = sum of row {i}"):
            dataclasses.replace(scheme, c=c)
        for j in range(i):
            a = [list(row) for row in scheme.a]
            a[i][j] += slip
            with pytest.raises(ValueError, match=rf"expected c\[{i}\] = sum of row"):
                dataclasses.replace(scheme, a=a)


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        ([[], ["1/2"]], ["0", "1"], ["0"]),  # a node too few
        ([[], ["1/2"]], ["0", "1"], ["0", "1/2", "1"]),  # a node too many
        ([[]], ["0", "1"], ["0", "1/2"]),  # a row too few
        ([[], ["1/2"], []], ["0", "1"], ["0", "1/2"]),  # a row too many
        ([[], ["1/2", "0"]], ["0", "1"], ["0", "1/2"]),  # not strictly lower
        ([["0"], ["1/2"]], ["0", "1"], ["0", "1/2"]),  # implicit
    ],
)
def test_shapes_are_refused(a, b, c):
    with pytest.raises(ValueError, match="'bad': expected rows of a with 0, 1, .. s-1"):
        ButcherTableau("bad", a, b, c)


@pytest.mark.parametrize("where", ["a", "b", "c"])
def test_floats_are_refused(where):
    midpoint = SCHEMES["midpoint"]
    bad = {"a": [[], [0.5]], "b": [0.0, 1.0], "c": [0.0, 0.5]}[where]
    with pytest.raises(ValueError, match="expected exact rationals.*the float"):
        dataclasses.replace(midpoint, **{where: bad})


def test_numbers_become_fractions():
    tableau = ButcherTableau("mine", [[], ["1/2"]], [0, 1], [0, "1/2"])
    numbers = [*tableau.a[1], *tableau.b, *tableau.c]
    assert all(type(x) is Fraction for x in numbers)
    assert tableau.order == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        tableau.b = (1,)


@every_scheme
def test_get_scheme(scheme):
    assert get_scheme(scheme.name) is scheme
    assert get_scheme(scheme) is scheme


@pytest.mark.parametrize("name", ["rk5", "RK4", None, 4])
def test_unknown_schemes_are_refused(name):
    with pytest.raises(ValueError, match="scheme: expected one of euler, .*Received"):
        get_scheme(name)


def test_published_names():
    """`rk4` is the classic rule; the published PyTorch code calls the 3/8 rule so."""
    assert SCHEMES["rk4"].c == (0, Fraction(1, 2), Fraction(1, 2), 1)
    assert SCHEMES["rk4_38"].c == (0, Fraction(1, 3), Fraction(2, 3), 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shares_are_as_wide_as_weights_side_by_side_and_around_the_nodes(scheme):
    tableau = SCHEMES[scheme]
    if min(tableau.b) < 0:
        assert tableau.shares is None
        return
    for b, c, (start, end) in zip(tableau.b, tableau.c, tableau.shares, strict=True):
        assert start <= c <= end
        assert end - start == b or b == 0
    ends = sorted(s for s, b in zip(tableau.shares, tableau.b, strict=True) if b)
    assert ends[0][0] == 0 and ends[-1][1] == 1
    assert all(x[1] == y[0] for x, y in zip(ends, ends[1:], strict=False))
