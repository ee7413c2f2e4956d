"""Shorter chains of operations have the same values."""

import dataclasses

import keras
import numpy as np
import pytest

from export.affine import Affine, Function, Linear, Padding, folded

RELU = Function(keras.activations.relu)
TANH = Function(keras.activations.tanh)


def apply(operations, x):
    """The operations, written out for (batch, features)."""
    for operation in operations:
        if isinstance(operation, Linear):
            x = x @ operation.kernel + operation.bias
        elif isinstance(operation, Affine):
            x = x * operation.scale + operation.shift
        else:
            x = operation.function(x).numpy()
    return x


def random_linear(rng):
    return Linear(rng.normal(size=(3, 3)), rng.normal(size=3))


def random_affine(rng):
    return Affine(np.array([-1.5, 0.0, 2.0]), rng.normal(size=3))


@pytest.mark.parametrize("factor", [1.0, -0.5, 0.0])
@pytest.mark.parametrize(
    "names", ["LA", "LrA", "LrALrA", "ArLArL", "LtAL", "AA", "rA", ""]
)
def test_rules_are_exact(names, factor):
    rng = np.random.default_rng(2)
    make = {
        "L": random_linear,
        "A": random_affine,
        "r": lambda _: RELU,
        "t": lambda _: TANH,
    }
    operations = [make[name](rng) for name in names]
    x = rng.normal(size=(20, 3))
    np.testing.assert_allclose(
        apply(folded(operations, factor), x),
        factor * apply(operations, x),
        atol=1e-6,
    )


def kinds(operations):
    return "".join(type(operation).__name__[:2] for operation in operations)


def test_what_is_folded():
    rng = np.random.default_rng(2)
    linear, affine = random_linear(rng), random_affine(rng)
    scale = Affine(np.array([0.5, 1.0, 2.0]), np.zeros(3))
    assert kinds(folded([linear, affine], 0.3)) == "Li"
    assert kinds(folded([linear, RELU, scale], 0.3)) == "LiFu"
    assert kinds(folded([linear, RELU, affine], 0.3)) == "LiFuAf"
    assert kinds(folded([linear, RELU, affine, linear])) == "LiFuLi"  # No padding.
    assert kinds(folded([linear, TANH, scale, linear])) == "LiFuLi"
    conv = Linear(rng.normal(size=(3, 3, 3, 3)), np.zeros(3), (1, 1))
    shifted = folded([conv, RELU, affine, conv], 0.3)
    assert kinds(shifted) == "LiFuAfLi"
    assert np.all(shifted[2].scale == 1)
    strided = Linear(conv.kernel, conv.bias, (2, 2), 1)
    (kept,) = folded([scale, strided, affine], 0.3)
    assert (kept.strides, kept.padding) == ((2, 2), 1)
    assert kinds(folded([], 1.0)) == ""
    # tanh(2 x) is not 2 tanh(x).
    assert kinds(folded([linear, TANH, affine])) == "LiFuAf"


def test_zeros_in_front_become_the_padding_of_a_convolution():
    conv = Linear(np.ones((3, 3, 2, 2)), np.zeros(2), (2, 2), 0)
    (one,) = folded([Padding(1), conv])
    assert one.padding == 1
    # `same` adds zeros of its own: there are two borders.
    assert len(folded([Padding(1), dataclasses.replace(conv, padding="same")])) == 2


def test_depthwise_kernels_take_the_scales_of_both_sides():
    """y = s (W (r x) + b) + d for each channel, whose two kernels are its own."""
    rng = np.random.default_rng(2)
    kernel, bias = rng.normal(size=(3, 3, 2, 2)), rng.normal(size=4)
    conv = Linear(kernel, bias, (1, 1), depthwise=True)
    r, s, d = rng.normal(size=2), rng.normal(size=4), rng.normal(size=4)
    (one,) = folded([Affine(r, np.zeros(2)), conv, Affine(s, d)])
    np.testing.assert_allclose(one.bias, s * bias + d)
    np.testing.assert_allclose(one.kernel, kernel * r[:, None] * s.reshape(2, 2))
    # A shift in front stays, also of one pixel.
    pixel = Linear(rng.normal(size=(1, 1, 2, 2)), bias, (1, 1), depthwise=True)
    assert len(folded([Affine(r, np.ones(2)), pixel])) == 2
