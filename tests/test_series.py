"""theta(t) = sum_k phi_k(t) theta_k, against independent NumPy formulas."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from chains import lifted

from cnet_tf.basis import BASES, evaluations, get_basis
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.runge_kutta import StageTime, stage_times
from cnet_tf.series import (
    ForwardPass,
    ParameterSeries,
    SeriesLayer,
    combine,
    initial_series,
)
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.tableaus import SCHEMES, get_scheme

SPACES = [
    ("constant", 1),
    ("constant", 3),
    ("constant", 7),
    ("hat", 2),
    ("hat", 4),
    ("linear", 2),
    ("linear", 6),
    ("legendre", 1),
    ("legendre", 4),
]
NODES = sorted({c for scheme in SCHEMES.values() for c in scheme.c})


def phi(kind, size, t, side="right"):
    """(phi_0(t), .., phi_{K-1}(t)) in floats, from the textbook formulas."""
    if kind == "legendre":
        basis = np.polynomial.legendre.Legendre.basis
        return np.array([basis(k)(2 * t - 1) for k in range(size)])
    if kind == "hat":
        return np.maximum(0, 1 - np.abs(t * (size - 1) - np.arange(size)))
    cells = size if kind == "constant" else size // 2
    # Slightly inside the cell that the limit belongs to; floats do for small K.
    inside = t + (1e-9 if side == "right" else -1e-9)
    cell = min(max(int(np.floor(inside * cells)), 0), cells - 1)
    row = np.zeros(size)
    if kind == "constant":
        row[cell] = 1
    else:
        s = t * cells - cell
        row[2 * cell : 2 * cell + 2] = 1 - s, s
    return row


def mean_phi(kind, size, t0, t1):
    """The average of phi over [t0, t1], by Gauss quadrature between all kinks."""
    cells = {"constant": size, "hat": size - 1, "linear": size // 2, "legendre": 1}
    kinks = np.linspace(0, 1, cells[kind] + 1)
    borders = [t0, *[t for t in kinks if t0 + 1e-9 < t < t1 - 1e-9], t1]
    points, weights = np.polynomial.legendre.leggauss(5)
    total = np.zeros(size)
    for a, b in zip(borders[:-1], borders[1:], strict=True):
        for x, w in zip(points, weights, strict=True):
            total += w * (b - a) / 2 * phi(kind, size, a + (b - a) * (x + 1) / 2)
    return total / (t1 - t0)


def make_series(kind, size, shape=(2, 3)):
    values = np.random.default_rng(size).normal(size=(size, *shape))
    variable = keras.Variable(values, dtype="float64")
    return ParameterSeries(variable, get_basis(kind, size)), values


@pytest.mark.parametrize("restriction", ["average", "point"])
@pytest.mark.parametrize(("kind", "size"), SPACES)
def test_value_is_the_sum_over_the_basis(kind, size, restriction):
    series, values = make_series(kind, size)
    cells = series.basis.cells
    for steps in (1, 2, 3, 7):
        forward = ForwardPass(restriction)
        for n in range(steps):
            for c in NODES:
                got = forward.at(StageTime(n, c, steps))(series)
                if restriction == "average" and steps < cells:
                    row = mean_phi(kind, size, n / steps, (n + 1) / steps)
                else:
                    side = "left" if c == 1 else "right"
                    row = phi(kind, size, (n + float(c)) / steps, side)
                expected = np.tensordot(row, values, axes=1)
                np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [7, 9, 12, 14, 49, 98])
def test_a_step_reads_its_own_cell_only(size):
    """int(t*K) reads the wrong cell for these K, and t = n/N needs care at c = 1."""
    basis = get_basis("constant", size)
    for n in range(size):
        one_hot = tuple(int(k == n) for k in range(size))
        for c in NODES:
            row = ForwardPass("point").row(basis, StageTime(n, c, size))
            assert row == one_hot, (n, c)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("kind", "size"), SPACES)
def test_the_quadrature_of_a_step_is_the_average_over_it(kind, size, scheme):
    """sum_i b_i theta_i = the mean of theta, exactly, whatever the basis is."""
    basis, tableau = get_basis(kind, size), SCHEMES[scheme]
    for steps in (1, 2, 3, 7):
        for n in range(steps):
            times = stage_times(tableau, n, steps)
            rows = [ForwardPass("quadrature").row(basis, time) for time in times]
            if steps >= basis.cells:
                points = [ForwardPass("point").row(basis, time) for time in times]
                assert rows == points
                continue
            found = tuple(
                sum(b * x for b, x in zip(tableau.b, column, strict=True))
                for column in zip(*rows, strict=True)
            )
            assert found == ForwardPass("average").row(basis, times[0])


def test_stages_of_a_long_step_read_what_is_around_them():
    def read(scheme, size):
        basis = get_basis("constant", size)
        times = stage_times(scheme, 0, 1)
        rows = [ForwardPass("quadrature").row(basis, time) for time in times]
        return [tuple(map(str, row)) for row in rows]

    assert read("euler", 2) == [("1/2", "1/2")]
    # The first stage of midpoint has no weight: its slope leads to the middle.
    assert read("midpoint", 4) == [("1/2", "1/2", "0", "0"), ("1/4",) * 4]
    assert read("rk4", 2) == [("1", "0"), ("1", "0"), ("0", "1"), ("0", "1")]
    # A scheme with a negative weight has no parts of the step.
    assert set(read("dopri5", 2)) == {("1/2", "1/2")}


@pytest.mark.parametrize(("size", "steps"), [(4, 2), (6, 3), (8, 1)])
def test_average_restriction_is_the_mean_of_the_cells(size, steps):
    series, values = make_series("constant", size)
    means = values.reshape(steps, size // steps, *values.shape[1:]).mean(axis=1)
    forward = ForwardPass()
    for n in range(steps):
        for c in NODES:  # every stage of a step reads the same average
            got = forward.at(StageTime(n, c, steps))(series)
            np.testing.assert_allclose(got, means[n], rtol=1e-12)


def test_average_restriction_weighs_cells_by_overlap():
    row = ForwardPass().row(get_basis("constant", 4), StageTime(1, Fraction(1, 2), 3))
    assert row == (0, Fraction(1, 2), Fraction(1, 2), 0)
    row = ForwardPass().row(get_basis("constant", 4), StageTime(0, 0, 3))
    assert row == (Fraction(3, 4), Fraction(1, 4), 0, 0)


def test_one_hot_row_is_the_slice_itself():
    class Untouchable:
        def __mul__(self, other):
            raise AssertionError("multiplied")

        __rmul__ = __add__ = __radd__ = __mul__

    slices = [Untouchable() for _ in range(3)]
    assert combine((0, 1, 0), slices) is slices[1]
    with pytest.raises(AssertionError, match="multiplied"):
        combine((0, Fraction(1, 2), 0), slices)


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
@pytest.mark.parametrize("training", [False, True])
def test_a_pass_unstacks_every_series_once(monkeypatch, scheme, training):
    rate = lifted(("conv", "relu", "norm", "conv"), 3, nodes=2)
    block = ContinuousBlock(rate, scheme=scheme, steps=4)
    block.build((None, 4, 4, 3))
    counts = []
    unstack = keras.ops.unstack

    def counting(x, *args, **kwargs):
        counts.append(tuple(x.shape))
        return unstack(x, *args, **kwargs)

    monkeypatch.setattr(keras.ops, "unstack", counting)
    block(np.ones((2, 4, 4, 3), "float32"), training=training)
    # In training the moving statistics are not read.
    read = [s for s in block.series if s.variable.trainable or not training]
    assert sorted(counts) == sorted(tuple(s.variable.shape) for s in read)


def test_values_are_kept_within_a_pass():
    series, _ = make_series("hat", 3)
    forward = ForwardPass()
    first = forward.at(StageTime(0, Fraction(1, 2), 4))(series)
    assert forward.at(StageTime(0, Fraction(1, 2), 4))(series) is first
    assert ForwardPass().at(StageTime(0, Fraction(1, 2), 4))(series) is not first


@pytest.mark.parametrize(("kind", "size"), [("constant", 4), ("hat", 4)])
def test_every_node_has_its_own_draw(kind, size):
    (conv,) = lifted(("conv",), 64, kind, size).layers
    conv.build((None, 8, 8, 16))
    (dense,) = lifted(("dense",), 128, kind, size).layers
    dense.build((None, 64))
    for layer, std in ((conv, (2 / (9 * 64)) ** 0.5), (dense, (2 / 128) ** 0.5)):
        draws = layer.series[0].variable.numpy().reshape(size, -1)
        assert draws.shape[0] == size
        # 8,192 numbers or more: three standard errors are below 3 %.
        np.testing.assert_allclose(draws.std(axis=1), std, rtol=0.03)
        assert np.all(np.abs(draws.mean(axis=1)) < 0.05 * std)
        between = np.corrcoef(draws) - np.eye(size)
        assert np.all(np.abs(between) < 0.05)
        assert not np.any(layer.series[1].variable)


@pytest.mark.parametrize(("kind", "size"), SPACES)
def test_draws_that_are_alike_are_constant_in_any_basis(kind, size):
    basis = get_basis(kind, size)
    initial = initial_series([np.full(3, 2.5)] * size, basis, "float64")
    series = ParameterSeries(keras.Variable(initial, dtype="float64"), basis)
    for t in (StageTime(0, 0, 1), StageTime(1, Fraction(1, 3), 5), StageTime(6, 1, 7)):
        got = ForwardPass("point").at(t)(series)
        np.testing.assert_allclose(got, np.full(3, 2.5), rtol=1e-12)
    norm = SeriesBatchNormalization(basis=kind, nodes=size)
    norm.build((None, 3))
    gamma = ForwardPass().at(StageTime(1, Fraction(1, 3), 5))(norm.gamma)
    np.testing.assert_allclose(gamma, np.ones(3), rtol=1e-6)


def test_every_basis_is_tested():
    assert {kind for kind, _ in SPACES} == set(BASES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"basis": "fourier"}, "basis: expected one of .*'fourier'"),
        ({"nodes": 0}, "nodes: expected an integer >= 1"),
        ({"basis": "hat", "nodes": 1}, "nodes: basis 'hat' needs at least 2"),
        ({"basis": "linear", "nodes": 3}, "even number"),
    ],
)
def test_layer_refuses_unknown_bases_and_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        SeriesLayer(**arguments)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("steps", [1, 3])
def test_each_evaluation_has_a_value_of_its_own(name, steps):
    """Stages at one time too; other times read those of the pieces they are in."""
    scheme, forward = get_scheme(name), ForwardPass()
    basis = evaluations(steps * scheme.stages)
    times = [time for n in range(steps) for time in stage_times(scheme, n, steps)]
    rows = [forward.row(basis, time) for time in times]
    np.testing.assert_array_equal(np.array(rows, float), np.eye(basis.size))
    others = [
        StageTime(0, Fraction(1, 3), steps),
        stage_times("euler", 1, 2 * steps * scheme.stages)[0],
    ]
    pieces = get_basis("constant", basis.size)
    for time in others:
        assert forward.row(basis, time) == pieces.weights(time, time.side)
