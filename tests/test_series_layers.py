"""Series layers: their contract, and the layers they were lifted from."""

import json

import keras
import numpy as np
import pytest
from chains import unit_rate

from cnet_tf.basis import BASES
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.lifted_layer import lift
from cnet_tf.scale import Scale
from cnet_tf.series_norm import SeriesBatchNormalization

SIZES = {"constant": 2, "hat": 3, "linear": 4, "legendre": 3}
IMAGE, VECTOR = (2, 6, 5, 3), (4, 3)


def conv(filters):
    return keras.layers.Conv2D(filters, 3, padding="same", name="layer")


# (pattern, input shape, output shape, shapes of the weights for K = 1)
CONTRACT = [
    (conv(4), IMAGE, (2, 6, 5, 4), [(3, 3, 3, 4), (4,)]),
    (
        keras.layers.Conv2D(2, 1, 2, use_bias=False, name="layer"),
        IMAGE,
        (2, 3, 3, 2),
        [(1, 1, 3, 2)],
    ),
    (keras.layers.Dense(5, name="layer"), VECTOR, (4, 5), [(3, 5), (5,)]),
    (
        keras.layers.Dense(5, use_bias=False, name="layer"),
        IMAGE,
        (2, 6, 5, 5),
        [(3, 5)],
    ),
    (Scale(0.5, name="layer"), IMAGE, IMAGE, [()]),
    (
        keras.layers.BatchNormalization(momentum=0.5, epsilon=1e-3, name="layer"),
        VECTOR,
        VECTOR,
        [(3,)] * 4,
    ),
    (SeriesBatchNormalization(name="layer"), IMAGE, IMAGE, [(3,)] * 4),
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
@pytest.mark.parametrize(("pattern", "shape", "output_shape", "weights"), CONTRACT)
def test_layer_contract(pattern, shape, output_shape, weights, basis, nodes):
    layer = lift(pattern, basis, nodes)
    config = layer.get_config()
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
    if len(shape) == 4 and output_shape[1] > 3:
        rows = layer.compute_output_shape((None, None, None, shape[-1]))
        assert tuple(rows) == (None, None, None, output_shape[-1])

    # the config is plain data and rebuilds the layer
    json.dumps(config)
    for twin in (
        type(layer).from_config(config),
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


@pytest.mark.parametrize("pattern", [row[0] for row in CONTRACT[:5]])
def test_with_one_node_it_is_the_layer(pattern):
    ours = lift(pattern)
    theirs = type(pattern).from_config(pattern.get_config())
    x = normal(IMAGE)
    ours.build(x.shape)
    theirs.build(x.shape)
    randomize(ours)
    theirs.set_weights([w[0] for w in ours.get_weights()])
    np.testing.assert_array_equal(ours(x), theirs(x))


@pytest.mark.parametrize("kind", BASES)
def test_skip_init_starts_as_the_identity(kind):
    rate = unit_rate("skip_init", 3, kind, SIZES[kind])
    block = ContinuousBlock(rate, steps=2)
    x = normal((2, 6, 6, 3))
    np.testing.assert_array_equal(block(x, training=True), x)
    alpha = rate.layers[-1].series[0].variable
    alpha.assign(alpha + 0.5)
    assert np.abs(np.array(block(x)) - x).max() > 0.1
