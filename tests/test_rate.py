"""The series layers: their contract, their arithmetic, their gradients."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf.basis import BASES
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.continuous_net import UNITS
from cnet_tf.lifted_layer import LiftedLayer
from cnet_tf.rate import SeriesChain, SeriesConv2D, SeriesDense, SeriesScale
from cnet_tf.series import SeriesLayer
from cnet_tf.series_norm import SeriesBatchNormalization

SIZES = {"constant": 2, "hat": 3, "linear": 4, "legendre": 3}
IMAGE, VECTOR = (2, 6, 5, 3), (4, 3)

# (class, arguments, input shape, output shape, shapes of the weights for K = 1)
CONTRACT = [
    (SeriesConv2D, {"filters": 4}, IMAGE, (2, 6, 5, 4), [(3, 3, 3, 4), (4,)]),
    (
        SeriesConv2D,
        {"filters": 2, "kernel_size": 1, "strides": 2, "use_bias": False},
        IMAGE,
        (2, 3, 3, 2),
        [(1, 1, 3, 2)],
    ),
    (
        SeriesConv2D,
        {"filters": 4, "strides": 2, "padding": "symmetric"},
        IMAGE,
        (2, 3, 3, 4),
        [(3, 3, 3, 4), (4,)],
    ),
    (SeriesDense, {"units": 5}, VECTOR, (4, 5), [(3, 5), (5,)]),
    (SeriesDense, {"units": 5, "use_bias": False}, IMAGE, (2, 6, 5, 5), [(3, 5)]),
    (SeriesScale, {"initial": 0.5}, IMAGE, IMAGE, [()]),
    (SeriesBatchNormalization, {}, IMAGE, IMAGE, [(3,)] * 4),
    (
        SeriesBatchNormalization,
        {"momentum": 0.5, "epsilon": 1e-3},
        VECTOR,
        VECTOR,
        [(3,)] * 4,
    ),
    (
        SeriesChain,
        {"operations": ("conv", "relu", "norm", "scale"), "filters": 4, "strides": 2},
        IMAGE,
        (2, 3, 3, 4),
        [(3, 3, 3, 4), (4,), (4,), (4,), (4,), (4,), ()],
    ),
    (
        SeriesChain,
        {
            "operations": ("conv", "conv", "norm"),
            "filters": 4,
            "strides": 2,
            "strided": 1,
            "padding": "symmetric",
            "momentum": 0.5,
        },
        IMAGE,
        (2, 3, 3, 4),
        [(3, 3, 3, 4), (4,), (3, 3, 4, 4), (4,), (4,), (4,), (4,), (4,)],
    ),
    (
        SeriesChain,
        {"operations": ("dense", "tanh", "dense"), "filters": 3, "use_bias": False},
        VECTOR,
        VECTOR,
        [(3, 3), (3, 3)],
    ),
    (SeriesChain, {"operations": (), "filters": 3}, IMAGE, IMAGE, []),
]


def normal(shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def randomize(layer, seed=1, scale=0.5):
    """Fills every weight; moving variances stay positive."""
    rng = np.random.default_rng(seed)
    for v in layer.variables:
        value = rng.normal(size=v.shape, scale=scale)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)


@pytest.mark.parametrize(("basis", "nodes"), [("constant", 1), ("hat", 3)])
@pytest.mark.parametrize(
    ("cls", "arguments", "shape", "output_shape", "weights"), CONTRACT
)
def test_layer_contract(cls, arguments, shape, output_shape, weights, basis, nodes):
    layer = cls(**arguments, basis=basis, nodes=nodes, name="layer")
    config = layer.get_config()
    for key, value in arguments.items():
        assert config[key] == value
    assert (config["basis"], config["nodes"]) == (basis, nodes)

    # build makes the weights, K of each, and call makes no more.
    layer.build((None, *shape[1:]))
    cells = 1 if basis == "constant" else nodes - 1
    sizes = [cells if "moving" in v.name else nodes for v in layer.weights]
    expected = [(k, *w) for k, w in zip(sizes, weights, strict=True)]
    assert sorted(tuple(v.shape) for v in layer.weights) == sorted(expected)
    assert {id(s.variable) for s in layer.series} == {id(v) for v in layer.weights}
    randomize(layer)
    x = normal(shape)
    y = layer(x)
    assert len(layer.weights) == len(weights)

    # shapes, with the batch known or not
    assert tuple(y.shape) == output_shape
    assert tuple(layer.compute_output_shape(shape)) == output_shape
    unknown = layer.compute_output_shape((None, *shape[1:]))
    assert tuple(unknown) == (None, *output_shape[1:])
    if len(shape) == 4:
        rows = layer.compute_output_shape((None, None, None, shape[-1]))
        assert tuple(rows) == (None, None, None, output_shape[-1])

    # the config is plain data and rebuilds the layer
    json.dumps(config)
    for twin in (
        cls.from_config(config),
        keras.saving.deserialize_keras_object(
            json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        ),
    ):
        assert json.dumps(twin.get_config()) == json.dumps(config)
        if not twin.built:  # what Keras serialises carries the input shape along
            twin.build((None, *shape[1:]))
        twin.set_weights(layer.get_weights())
        np.testing.assert_array_equal(twin(x), y)

    # usable and summable in a functional model
    inputs = keras.Input(shape[1:])
    model = keras.Model(inputs, layer(inputs))
    lines = []
    model.summary(print_fn=lines.append)
    assert "layer" in "\n".join(lines)
    np.testing.assert_array_equal(model(x), y)


def test_every_series_layer_has_a_contract():
    subclasses = {
        c for c in SeriesLayer.__subclasses__() if c.__module__.startswith("cnet_tf")
    }
    # The contract of a lifted layer is its own: tests/test_lifted_layer.py.
    assert subclasses - {LiftedLayer} == {row[0] for row in CONTRACT}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_conv_with_one_node_is_keras_conv(kernel_size, strides, use_bias):
    ours = SeriesConv2D(4, kernel_size, strides, use_bias)
    theirs = keras.layers.Conv2D(
        4, kernel_size, strides, padding="same", use_bias=use_bias
    )
    x = normal((2, 7, 8, 3))
    ours.build(x.shape)
    theirs.build(x.shape)
    randomize(ours)
    theirs.set_weights([w[0] for w in ours.get_weights()])
    np.testing.assert_array_equal(ours(x), theirs(x))


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 8), (6, 9)])
def test_symmetric_padding_is_a_pad_and_a_valid_convolution(kernel_size, strides, size):
    ours = SeriesConv2D(4, kernel_size, strides, padding="symmetric")
    theirs = keras.Sequential(
        [
            keras.layers.ZeroPadding2D(kernel_size // 2),
            keras.layers.Conv2D(4, kernel_size, strides, padding="valid"),
        ]
    )
    x = normal((2, *size, 3))
    ours.build(x.shape)
    theirs.build(x.shape)
    randomize(ours)
    theirs.set_weights([w[0] for w in ours.get_weights()])
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-6, atol=1e-6)
    assert ours.compute_output_shape(x.shape) == theirs(x).shape


@pytest.mark.parametrize(
    ("kernel_size", "strides", "margin"), [(3, 2, 1), (5, 2, 2), (3, 1, 0), (1, 2, 0)]
)
def test_zeros_are_added_where_same_would_not_add_them(kernel_size, strides, margin):
    conv = SeriesConv2D(4, kernel_size, strides, padding="symmetric")
    assert conv.margin == margin
    assert SeriesConv2D(4, kernel_size, strides).margin == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": "valid"}, "padding: expected one of same, symmetric.*'valid'"),
        (
            {"padding": "symmetric", "kernel_size": 4},
            "kernel_size: expected an odd .*4",
        ),
    ],
)
def test_conv_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        SeriesConv2D(4, **arguments)


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_with_one_node_is_keras_dense(use_bias):
    ours = SeriesDense(4, use_bias)
    theirs = keras.layers.Dense(4, use_bias=use_bias)
    x = normal((8, 3))
    ours.build(x.shape)
    theirs.build(x.shape)
    randomize(ours)
    theirs.set_weights([w[0] for w in ours.get_weights()])
    np.testing.assert_array_equal(ours(x), theirs(x))


@pytest.mark.parametrize("kind", BASES)
def test_skip_init_starts_as_the_identity(kind):
    rate = SeriesChain(UNITS["skip_init"].rate, 3, basis=kind, nodes=SIZES[kind])
    block = ContinuousBlock(rate, steps=2)
    x = normal((2, 6, 6, 3))
    np.testing.assert_array_equal(block(x, training=True), x)
    alpha = rate.links[-1].alpha.variable
    alpha.assign(alpha + 0.5)
    assert np.abs(np.array(block(x)) - x).max() > 0.1


def test_chain_refuses_unknown_operations():
    with pytest.raises(ValueError, match="operations: expected conv.*'convv'"):
        SeriesChain(("convv", "relu"), 4)


@pytest.mark.parametrize(
    ("arguments", "expected"), [({}, [2, 1]), ({"strided": 1}, [1, 2])]
)
def test_one_convolution_of_a_chain_has_the_stride(arguments, expected):
    chain = SeriesChain(("norm", "conv", "relu", "conv"), 4, strides=2, **arguments)
    strides = [x.strides for x in chain.links if isinstance(x, SeriesConv2D)]
    assert strides == expected


def test_chain_refuses_a_stride_of_no_convolution():
    with pytest.raises(ValueError, match="strided: expected 0 <= strided < 1.*1"):
        SeriesChain(("conv", "relu"), 4, strides=2, strided=1)


def test_norms_of_a_chain_have_its_momentum():
    chain = SeriesChain(("norm", "relu", "norm"), 4, momentum=0.25)
    assert [x.momentum for x in chain.links[::2]] == [0.25, 0.25]


SMOOTH = {
    name: tuple("tanh" if op == "relu" else op for op in style.rate)
    for name, style in UNITS.items()
}


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("unit", UNITS)
def test_gradients_of_a_block_are_central_differences(float64, unit, kind):
    """One direction through every weight and the input, batch norms in training."""
    rate = SeriesChain(
        SMOOTH[unit],
        3,
        use_bias=UNITS[unit].use_bias,
        basis=kind,
        nodes=SIZES[kind],
    )
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


@pytest.fixture
def float64():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)
