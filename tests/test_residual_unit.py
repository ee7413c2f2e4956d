"""y = activation(skip(x) + stitch branch(x)), beside arithmetic on arrays."""

import keras
import numpy as np
import pytest

from cnet_tf.layer_factory import PADDINGS, LayerFactory
from cnet_tf.residual_unit import UNITS, pre_activation, projection, residual

IMAGE = (2, 7, 6, 3)


def normal(shape=IMAGE, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def unit_model(make, branch, skip=(), **arguments):
    x = keras.Input(IMAGE[1:])
    model = keras.Model(x, residual(make, "unit", x, branch, skip, **arguments))
    rng = np.random.default_rng(1)
    for v in model.variables:
        v.assign(rng.uniform(0.2, 1.0, size=v.shape))
    return model, model.get_layer("unit")


def applied(layers, x, padding):
    """Layer by layer, by operations on arrays."""
    ops = keras.ops
    for layer in layers:
        weights = [ops.convert_to_tensor(w) for w in layer.get_weights()]
        if layer.name.startswith("norm"):
            gamma, beta, mean, variance = weights
            x = gamma * (x - mean) / ops.sqrt(variance + 1e-5) + beta
        elif layer.name.startswith("relu"):
            x = ops.maximum(x, 0)
        elif layer.name.startswith("conv") and weights:
            kernel, *bias = weights
            how = "same"
            if padding == "symmetric" and kernel.shape[0] == 3:
                x, how = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), "valid"
            x = ops.conv(x, kernel, layer.strides, how)
            x = x + bias[0] if bias else x
    return x


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("stitch", [1.0, 0.25])
@pytest.mark.parametrize("unit", UNITS)
def test_equation(unit, strides, stitch, padding):
    style = UNITS[unit]
    make = LayerFactory(padding, style.use_bias)
    model, inner = unit_model(
        make,
        style.transition(make, 5, strides),
        style.skip(make, 5, strides),
        stitch=stitch,
    )
    x = normal()
    branch, skip = (
        applied(
            [c for c in inner.get_layer(name).layers if c.name != "stitch"], x, padding
        )
        for name in ("branch", "skip")
    )
    y = model(x)
    assert y.shape == (2, -(-7 // strides), 6 // strides, 5)
    np.testing.assert_allclose(y, skip + stitch * branch, rtol=1e-5, atol=1e-5)


def test_the_skip_is_one_strided_convolution_without_bias():
    (conv,) = projection(LayerFactory(), 5, 2)
    found = conv.kernel_size, conv.strides, conv.use_bias
    assert found == ((1, 1), (2, 2), False)


@pytest.mark.parametrize("strided", [0, 1])
def test_one_convolution_has_the_stride(strided):
    layers = pre_activation(LayerFactory("same"), 5, 2, strided)
    strides = [c.strides for c in layers if isinstance(c, keras.layers.Conv2D)]
    assert strides == [((1, 1), (2, 2))[i == strided] for i in range(2)]


def test_an_empty_skip_is_the_identity():
    make = LayerFactory()
    model, _ = unit_model(make, make.conv("conv", 3), stitch=0.0)
    np.testing.assert_array_equal(model(normal()), normal())


def test_activation_comes_after_the_sum():
    make = LayerFactory()
    plain, _ = unit_model(make, make.conv("conv", 3))
    relu = make.relu("relu")
    bent, _ = unit_model(make, make.conv("conv", 3), activation=relu)
    kernel, bias = plain.get_weights()
    for model in (plain, bent):
        model.set_weights([kernel - 0.6, bias])
    x = normal()
    assert np.array(plain(x)).min() < 0 < np.array(plain(x)).max()
    np.testing.assert_array_equal(bent(x), np.maximum(plain(x), 0))


def test_training_reaches_the_norms():
    make = LayerFactory()
    model, _ = unit_model(make, pre_activation(make, 3))
    before = model.get_weights()
    still, changed = (np.array(model(normal(), training=t)) for t in (False, True))
    assert np.abs(changed - still).max() > 1e-3
    pairs = zip(model.weights, before, strict=True)
    moved = [v.name for v, old in pairs if np.any(v.numpy() != old)]
    assert sorted(moved) == ["moving_mean"] * 2 + ["moving_variance"] * 2
