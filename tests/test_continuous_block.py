"""Blocks: a ResNet is their Euler manifestation, and the others converge."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from chains import chain, lifted, unit_rate
from slow_cases import fast

from cnet_tf.basis import BASES
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.residual_unit import UNITS
from cnet_tf.tableaus import SCHEMES

IMAGE = (3, 6, 6, 4)


def normal(shape=IMAGE, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def randomize(layer, scale=0.3, seed=1):
    rng = np.random.default_rng(seed)
    for v in layer.variables:
        value = rng.normal(size=v.shape, scale=scale)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)
    return layer


def image_block(unit, nodes, scheme="euler", **arguments):
    rate = unit_rate(unit, IMAGE[-1], nodes=nodes)
    block = ContinuousBlock(rate, scheme=scheme, **arguments)
    block.build((None, *IMAGE[1:]))
    return randomize(block)


def keras_layer(part, k):
    """The layer of keras.layers with the k-th weights of a layer of a rate."""
    if part.name.startswith("conv"):
        layer = keras.layers.Conv2D(IMAGE[-1], 3, padding="same")
    elif part.name.startswith("norm"):
        layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    else:
        return keras.layers.ReLU()
    layer.build((None, *IMAGE[1:]))
    layer.set_weights([w[k] for w in part.get_weights()])
    return layer


@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
@pytest.mark.parametrize("unit", ["post", "pre"])
def test_euler_with_a_step_per_node_is_a_resnet_bit_for_bit(unit, nodes):
    block = image_block(unit, nodes, steps=nodes, horizon=nodes)
    x = normal()
    y = x
    for k in range(nodes):
        branch = y
        for part in block.rate.layers:
            branch = keras_layer(part, k)(branch)
        y = keras.layers.Add()([y, branch])
    np.testing.assert_array_equal(block(x), y)


@pytest.fixture
def float64():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def dense_block(basis="constant", nodes=1, scheme="rk4", width=3, **arguments):
    rate = lifted(("dense", "tanh", "dense"), width, basis, nodes)
    block = ContinuousBlock(rate, scheme=scheme, **arguments)
    block.build((None, width))
    return randomize(block, scale=1.0)


def with_steps(block, scheme, steps):
    return ContinuousBlock(
        block.rate, scheme=scheme, steps=steps, horizon=block.horizon
    )


@functools.cache
def problem(basis):
    """A block, an input, and the output by many steps of the highest order."""
    block = randomize(dense_block(basis, 3), scale=0.4)
    x = normal((4, 3), dtype="float64")
    return block, x, np.array(with_steps(block, "dopri5", 64)(x))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("basis", fast(["hat", "legendre"], "hat"))
def test_order_of_convergence(float64, basis, scheme):
    """Kinks of the hats lie at the borders of steps, so they cost no order."""
    block, x, expected = problem(basis)
    errors = [
        np.abs(np.array(with_steps(block, scheme, n)(x)) - expected).max()
        for n in (8, 16)
    ]
    assert errors[1] > 1e-11  # above rounding
    # Not two-sided: before the asymptotic regime some errors fall faster.
    assert np.log2(errors[0] / errors[1]) > SCHEMES[scheme].order - 0.4


def test_rk4_is_the_textbook_rule(float64):
    block = dense_block("hat", 3, "rk4", steps=4, horizon=1.5)
    w1, b1, w2, b2 = (w for part in block.rate.layers for w in part.get_weights())

    def f(t, x):
        phi = np.maximum(0, 1 - np.abs(2 * t - np.arange(3)))
        at = [np.tensordot(phi, w, axes=1) for w in (w1, b1, w2, b2)]
        return 1.5 * (np.tanh(x @ at[0] + at[1]) @ at[2] + at[3])

    x0 = x = normal((5, 3), dtype="float64")
    h = 1 / 4
    for n in range(4):
        t = n * h
        k1 = f(t, x)
        k2 = f(t + h / 2, x + h / 2 * k1)
        k3 = f(t + h / 2, x + h / 2 * k2)
        k4 = f(t + h, x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    np.testing.assert_allclose(block(x0), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nodes", [7])
def test_rk4_reads_one_cell_per_step(float64, nodes):
    """The last stage belongs to its own step: no weights of the next cell."""
    block = dense_block("constant", nodes, "rk4", steps=nodes)
    x0 = x = normal((2, 3), dtype="float64")
    for k in range(nodes):
        single = dense_block("constant", 1, "rk4", steps=1, horizon=1 / nodes)
        single.set_weights([w[k : k + 1] for w in block.get_weights()])
        x = single(x)
    np.testing.assert_allclose(block(x0), x, rtol=1e-12, atol=1e-12)


def test_fewer_steps_than_cells(float64):
    block = dense_block("constant", 4, "euler", steps=2)
    x = normal((2, 3), dtype="float64")
    small = dense_block("constant", 2, "euler", steps=2)
    weights = block.get_weights()

    small.set_weights([w.reshape(2, 2, *w.shape[1:]).mean(1) for w in weights])
    np.testing.assert_allclose(block(x), small(x), rtol=1e-12)

    point = ContinuousBlock(block.rate, scheme="euler", steps=2, restriction="point")
    small.set_weights([w[::2] for w in weights])
    np.testing.assert_allclose(point(x), small(x), rtol=1e-12)


def test_steps_default_to_the_cells():
    for basis, nodes, cells in (("constant", 3, 3), ("hat", 3, 2), ("linear", 6, 3)):
        rate = lifted(("dense",), 3, basis, nodes)
        assert ContinuousBlock(rate).steps == cells


def test_horizon_scales_the_rate():
    block = dense_block(steps=4)
    double = dense_block(steps=4, horizon=2)
    rate = chain(("dense", "tanh", "dense"), 3)
    twice = ContinuousBlock(rate, steps=4)
    twice.build((None, 3))
    weights = block.get_weights()
    double.set_weights(weights)
    twice.set_weights(weights[:2] + [2 * w for w in weights[2:]])
    x = normal((2, 3))
    np.testing.assert_allclose(double(x), twice(x), rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_eager_graph_and_xla_agree(training):
    block = image_block("post", 2, "midpoint")
    x = tf.constant(normal())
    before = block.get_weights()
    outputs = []
    for wrap in (
        lambda f: f,
        tf.function,
        lambda f: tf.function(f, jit_compile=True),
    ):
        block.set_weights(before)
        y = wrap(lambda x: block(x, training=training))(x)
        outputs.append([y.numpy(), *block.get_weights()])
    for other in outputs[1:]:
        for a, b in zip(outputs[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_config_round_trip():
    rate = unit_rate("pre", 4, "hat", 3)
    block = ContinuousBlock(
        rate, scheme="kutta3", steps=5, horizon=0.5, restriction="point", name="block"
    )
    config = json.loads(json.dumps(block.get_config()))
    assert config["scheme"] == "kutta3"
    assert config["steps"] == 5
    assert config["horizon"] == 0.5
    assert config["restriction"] == "point"
    twin = ContinuousBlock.from_config(config)
    assert json.loads(json.dumps(twin.get_config())) == config
    assert block.compute_output_shape((None, 6, 6, 4)) == (None, 6, 6, 4)
    block.build((None, *IMAGE[1:]))
    if not twin.built:
        twin.build((None, *IMAGE[1:]))
    twin.set_weights(randomize(block).get_weights())
    np.testing.assert_array_equal(twin(normal()), block(normal()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "rk5"}, "scheme: expected one of .*'rk5'"),
        ({"steps": 0}, "steps: expected an integer >= 1. Received 0"),
        ({"steps": 1.5}, "steps: expected an integer >= 1. Received 1.5"),
        ({"restriction": "nearest"}, "restriction: expected one of .*'nearest'"),
        ({"unit": keras.layers.Dense}, "unit: expected a Keras layer or model"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ContinuousBlock(**{"unit": chain(("dense",), 3), **arguments})


@pytest.mark.parametrize(("filters", "strides"), [(5, 1), (4, 2)])
def test_refuses_a_rate_that_changes_the_shape(filters, strides):
    block = ContinuousBlock(chain(("conv",), filters, strides))
    with pytest.raises(
        ValueError, match="unit: expected an output of the input's shape"
    ):
        block.build((None, *IMAGE[1:]))


SIZES = {"constant": 3, "hat": 3, "linear": 4, "legendre": 2}


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("unit", UNITS)
def test_gradients_of_a_block_are_central_differences(float64, unit, kind):
    """One direction through every weight and the input, batch norms in training."""
    rate = unit_rate(unit, 3, kind, SIZES[kind], activation="tanh")
    block = ContinuousBlock(rate, scheme="heun2", steps=3)
    block.build((None, 4, 4, 3))
    randomize(block)
    x0, cotangent = normal((3, 4, 4, 3), 2, "float64"), normal((3, 4, 4, 3), 3)
    places = [v for v in block.trainable_variables]
    start = [v.numpy() for v in places]
    rng = np.random.default_rng(4)
    direction = [rng.normal(size=v.shape) for v in places]
    dx = rng.normal(size=x0.shape)

    def loss(x):
        return tf.reduce_sum(block(x, training=True) * cotangent.astype("float64"))

    def along(s):
        for v, a, d in zip(places, start, direction, strict=True):
            v.assign(a + s * d)
        return float(loss(tf.constant(x0 + s * dx)))

    x = tf.constant(x0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    *gradients, gx = tape.gradient(value, [v.value for v in places] + [x])
    assert all(np.any(g) for g in gradients)
    slope = sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True))
    slope += np.sum(gx * dx)
    # Fourth-order central difference: truncation and rounding both below 1e-9.
    s = 2e-4
    measured = (8 * (along(s) - along(-s)) - along(2 * s) + along(-2 * s)) / (12 * s)
    assert abs(measured - slope) < 1e-6 * abs(slope)
