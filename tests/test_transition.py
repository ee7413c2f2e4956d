"""y = activation(skip(x) + stitch branch(x)), beside layers of Keras."""

import json

import keras
import numpy as np
import pytest

from cnet_tf.continuous_net import UNITS
from cnet_tf.rate import PADDINGS
from cnet_tf.transition import Transition

IMAGE = (2, 7, 6, 3)


def normal(shape=IMAGE, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(*args, **kwargs):
    transition = Transition(*args, **kwargs)
    transition.build((None, *IMAGE[1:]))
    rng = np.random.default_rng(1)
    for v in transition.variables:
        v.assign(rng.uniform(0.2, 1.0, size=v.shape))
    return transition


def keras_chain(chain, x, padding):
    """The chain, layer by layer, of keras.layers with copied weights."""
    for link in chain.links:
        name = type(link).__name__
        if name == "SeriesConv2D":
            symmetric = padding == "symmetric" and link.kernel_size == 3
            if symmetric:
                x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            layer = keras.layers.Conv2D(
                link.filters,
                link.kernel_size,
                link.strides,
                padding="valid" if symmetric else "same",
                use_bias=link.use_bias,
            )
        elif name == "SeriesBatchNormalization":
            layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        else:
            layer = keras.layers.ReLU()
        layer.build(x.shape)
        layer.set_weights([w[0] for w in link.get_weights()])
        x = layer(x)
    return x


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("stitch", [1.0, 0.25])
@pytest.mark.parametrize("unit", UNITS)
def test_equation(unit, strides, stitch, padding):
    style = UNITS[unit]
    transition = built(
        5,
        strides,
        branch=style.transition,
        skip=style.skip,
        stitch=stitch,
        use_bias=style.use_bias,
        padding=padding,
    )
    x = normal()
    branch, skip = (
        keras_chain(chain, x, padding) for chain in (transition.branch, transition.skip)
    )
    y = transition(x)
    assert y.shape == (2, -(-7 // strides), 6 // strides, 5)
    assert transition.compute_output_shape((None, *IMAGE[1:])) == (None, *y.shape[1:])
    np.testing.assert_allclose(y, skip + stitch * branch, rtol=1e-6, atol=1e-6)
    if stitch == 1 and padding == "same":
        np.testing.assert_array_equal(y, skip + branch)


def test_the_skip_is_one_strided_convolution_without_bias():
    transition = built(5, 2)
    (conv,) = transition.skip.links
    assert (conv.kernel_size, conv.strides, conv.use_bias) == (1, 2, False)
    strides = [getattr(x, "strides", None) for x in transition.branch.links]
    assert strides == [2, None, None, 1, None]


def test_the_stride_may_be_in_the_second_convolution():
    transition = built(5, 2, strided=1)
    strides = [getattr(x, "strides", None) for x in transition.branch.links]
    assert strides == [1, None, None, 2, None]
    assert [x.strides for x in transition.skip.links] == [2]
    assert transition(normal()).shape == (2, 4, 3, 5)


def test_an_empty_skip_is_the_identity():
    transition = built(3, skip=(), stitch=0.0)
    assert transition.skip.variables == []
    np.testing.assert_array_equal(transition(normal()), normal())


def test_activation_comes_after_the_sum():
    branch = ("conv",)
    plain = built(3, skip=(), branch=branch)
    bent = built(3, skip=(), branch=branch, activation="relu")
    for weights in (plain, bent):
        kernel, bias = weights.get_weights()
        weights.set_weights([kernel - 0.6, bias])
    x = normal()
    assert np.array(plain(x)).min() < 0 < np.array(plain(x)).max()
    np.testing.assert_array_equal(bent(x), np.maximum(plain(x), 0))


def test_training_reaches_the_norms():
    transition = built(5, branch=UNITS["pre"].transition)
    before = transition.get_weights()
    x = normal()
    still = np.array(transition(x))
    changed = np.array(transition(x, training=True))
    assert np.abs(changed - still).max() > 1e-3
    moved = [
        v.name
        for v, old in zip(transition.weights, before, strict=True)
        if np.any(v.numpy() != old)
    ]
    assert sorted(moved) == ["moving_mean"] * 2 + ["moving_variance"] * 2


def test_config_round_trip():
    transition = built(
        5,
        2,
        branch=("norm", "conv"),
        skip=("conv1x1", "norm"),
        stitch=0.5,
        use_bias=False,
        skip_bias=True,
        activation="relu",
        strided=0,
        padding="same",
        name="transition_1",
    )
    config = json.loads(json.dumps(transition.get_config()))
    twin = Transition.from_config(config)
    assert json.loads(json.dumps(twin.get_config())) == config
    twin.build((None, *IMAGE[1:]))
    twin.set_weights(transition.get_weights())
    np.testing.assert_array_equal(twin(normal()), transition(normal()))


def test_series_lists_every_weight_once():
    transition = built(5, 2)
    listed = [id(s.variable) for s in transition.series]
    assert sorted(listed) == sorted(id(v) for v in transition.variables)
