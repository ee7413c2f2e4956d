"""Where a net errs, which blocks grow for it, and what steps of other lengths gain."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from refinable_nets import IMAGE, X, classifier, image_net, normal, randomize

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.model_graph import layers_of
from cnet_tf.residual_unit import UNITS
from cnet_tf.runge_kutta import StageTime, step
from cnet_tf.series import SeriesLayer
from cnet_tf.step_errors import (
    block_errors,
    even_grid,
    gain,
    marked,
    measured_gain,
    on_grid,
    starts,
)
from cnet_tf.surgery import blocks_of
from cnet_tf.tableaus import SCHEMES
from cnet_tf.trajectory import rate_of, run


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def linear(*rates, **settings):
    """x' = theta x, theta piecewise constant, on (0, 1)."""
    inputs = keras.Input((1,))
    layer = keras.layers.Dense(1, use_bias=False)
    block = ContinuousBlock(layer, nodes=len(rates), **settings)
    net = keras.Model(inputs, block(inputs))
    block.series[0].variable.assign(np.reshape(rates, (-1, 1, 1)))
    return net


def test_the_estimates_are_differences_of_steps_and_their_halves():
    (found,) = block_errors(linear(1, 3, scheme="euler"), np.ones((4, 1), "float32"))
    coarse, fine = (3 / 2, 5 / 2), ((5 / 4) ** 2, (7 / 4) ** 2)
    end = fine[0] * fine[1]
    assert found.error == pytest.approx((end - coarse[0] * coarse[1]) / end)
    assert found.of_steps == pytest.approx(
        [(fine[0] - coarse[0]) / end, coarse[0] * (fine[1] - coarse[1]) / end]
    )


@pytest.mark.parametrize("scheme", ["euler", "midpoint", "rk4"])
def test_estimates_fall_with_the_order(float64, scheme):
    found = []
    for steps in (8, 16):
        net = randomize(classifier(scheme=scheme, steps=steps, nodes=1, horizon=2))
        found += block_errors(net, X.astype("float64"))
    order = SCHEMES[scheme].order
    ratios = [
        found[0].error / found[1].error,
        sum(found[0].of_steps) / sum(found[1].of_steps),
    ]
    np.testing.assert_allclose(np.log2(ratios), order, atol=0.3)


def test_errors_are_of_the_blocks_in_their_order():
    net = image_net()
    found = block_errors(net, normal((2, *IMAGE)))
    assert [one.block for one in found] == [block.name for block in blocks_of(net)]


@pytest.mark.parametrize(
    ("errors", "bulk", "places"),
    [
        ([1, 3, 2], 0.5, [1]),
        ([1, 3, 2], 0.9, [1, 2]),
        ([1, 3, 2], 1.0, [0, 1, 2]),
        ([2, 2, 2], 0.5, [0, 1]),
        ([0, 0], 0.5, [0]),
        ([1, np.nan, np.inf], 0.5, [1]),
    ],
)
def test_the_fewest_blocks_with_that_part_of_the_error_are_marked(errors, bulk, places):
    assert marked(errors, bulk) == places


def test_the_gain_of_an_even_grid_is_foretold():
    """x' = theta x with N steps in each of two cells: one has next to no error."""
    assert gain([1, 1, 1], 2) == gain([0, 0], 1) == pytest.approx(1)
    assert gain([1, 0, 0, 0], 2) == pytest.approx(4**2)
    net = linear(0.1, 3, scheme="euler", steps=8)
    ((block, x, mask),) = starts(net, np.ones((1, 1), "float32"))
    (found,) = block_errors(net, x)
    borders = even_grid(found.of_steps, 1, cells=2)
    assert Fraction(1, 2) in borders and len(borders) == 9 and borders[-1] == 1
    assert sum(t < Fraction(1, 2) for t in borders) == 1
    # Steps in calm cells are few, whole ones: less than what is foretold.
    assert 1.4 < measured_gain(found, block, x, mask) < found.gain < 2.5


def test_a_grid_of_equal_steps_is_the_block():
    net = image_net(steps=4, horizon=0.5)
    for block, x, mask in starts(net, normal((2, *IMAGE))):
        grid = even_grid([1.0] * 4, 2, cells=2)
        assert grid == [Fraction(i, 4) for i in range(5)]
        y = on_grid(block, x, mask, grid)
        np.testing.assert_allclose(y, run(block, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unit", UNITS)
def test_a_cell_of_another_length_is_an_equal_one_with_other_weights(unit):
    """So nets whose cells differ in length, a step each, are nets that there are."""
    lengths = Fraction(1, 3), Fraction(2, 3)
    block, x, _ = starts(image_net(unit=unit), normal((2, *IMAGE)))[0]
    y, scheme = x, SCHEMES[block.scheme]
    for n, length in enumerate(lengths):
        times = [StageTime(n, c, 2) for c in scheme.c]
        y = step(scheme, rate_of(block), y, times, length * Fraction(block.horizon))
    last = [one for one in layers_of(block.rate) if isinstance(one, SeriesLayer)][-1]
    for variable in last.trainable_variables:
        factors = np.reshape(
            [2 * float(h) for h in lengths], (2,) + (1,) * (variable.ndim - 1)
        )
        variable.assign(variable * factors)
    np.testing.assert_allclose(run(block, x), y, rtol=1e-4, atol=1e-5)
