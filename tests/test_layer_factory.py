"""The padding and the start of the layers of image nets."""

import keras
import numpy as np
import pytest

from cnet_tf.layer_factory import LayerFactory


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 8), (6, 9)])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_padding(kernel_size, strides, size, padding):
    """Symmetric: (kernel_size - 1) / 2 zeros on every side, whatever the size is."""
    make = LayerFactory(padding)
    ours = keras.Sequential(make.conv("conv", 4, kernel_size, strides))
    x = normal((2, *size, 3))
    y = ours(x)
    kernel, bias = ours.get_weights()
    m = (kernel_size - 1) // 2
    if padding == "symmetric":
        x, padding = np.pad(x, [(0, 0), (m, m), (m, m), (0, 0)]), "valid"
    expected = keras.ops.conv(x, kernel, strides, padding) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert y.shape[1:3] == tuple(-(-n // strides) for n in size)


@pytest.mark.parametrize(
    ("kernel_size", "strides", "layers"), [(3, 2, 2), (5, 2, 2), (3, 1, 1), (1, 2, 1)]
)
def test_zeros_are_added_where_same_would_not_add_them(kernel_size, strides, layers):
    conv = LayerFactory("symmetric").conv("conv", 4, kernel_size, strides)
    assert len(conv) == layers
    assert len(LayerFactory("same").conv("conv", 4, kernel_size, strides)) == 1


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="padding: expected one of same.*'valid'"):
        LayerFactory("valid")


def test_every_layer_starts_with_numbers_of_its_own():
    """N(0, 2 / fan_out), of 9,216 numbers: three standard errors are below 3 %."""
    make = LayerFactory()
    convs = [make.conv(f"conv_{i}", 64)[0] for i in range(2)]
    for conv in convs:
        conv.build((None, 8, 8, 16))
    kernels = [np.array(conv.kernel).ravel() for conv in convs]
    for kernel in kernels:
        np.testing.assert_allclose(kernel.std(), (2 / (9 * 64)) ** 0.5, rtol=0.03)
    assert abs(np.corrcoef(kernels)[0, 1]) < 0.05
