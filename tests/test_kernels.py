"""Kernels of a backend keep the contract of the plain operations."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cnet_tf.kernels import add_bias, normalize, normalize_batch


def plain_norm(x, gamma, beta, epsilon):
    mean, variance = ops.moments(x, axes=list(range(len(x.shape) - 1)))
    y = gamma * (x - mean) / ops.sqrt(variance + epsilon) + beta
    return y, mean, variance


def test_values_and_gradients_agree_with_the_plain_operations():
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(2, 3, (4, 5, 6, 7)), tf.float32)
    gamma, beta = (tf.constant(rng.normal(size=7), tf.float32) for _ in range(2))
    weight = tf.constant(rng.normal(size=x.shape), tf.float32)
    results = []
    for kernel in (plain_norm, normalize_batch):
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y, mean, variance = kernel(x, gamma, beta, 1e-5)
            loss = tf.reduce_sum(weight * y)
        results.append([y, mean, variance, *tape.gradient(loss, [x, gamma, beta])])
    for plain, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=2e-4, atol=2e-5)


def test_half_precision_is_widened_without_passes_of_its_own_for_the_same_bits():
    rng = np.random.default_rng(0)
    x = tf.cast(rng.normal(2, 3, (8, 6, 5, 16)), tf.bfloat16)
    gamma, beta = (tf.constant(rng.normal(size=16), tf.float32) for _ in range(2))
    weight = tf.cast(rng.normal(size=x.shape), tf.bfloat16)

    @tf.function
    def trained(widen):
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            wide = tf.cast(x, tf.float32) if widen else x
            y, mean, variance = normalize_batch(wide, gamma, beta, 1e-5)
            y = tf.cast(y, tf.bfloat16)
        slopes = tape.gradient(y, [x, gamma, beta], output_gradients=weight)
        return y, mean, variance, *slopes

    for found, expected in zip(trained(False), trained(True), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    graph = trained.get_concrete_function(False).graph
    wide = [op for op in graph.get_operations() if op.type == "Cast"]
    assert all(op.outputs[0].shape != x.shape for op in wide)


def test_given_moments_in_half_precision_are_those_of_float32():
    rng = np.random.default_rng(0)
    x = tf.cast(rng.normal(2, 3, (8, 6, 5, 16)), tf.bfloat16)
    mean, gamma, beta = (tf.constant(rng.normal(size=16), tf.float32) for _ in range(3))
    variance = tf.constant(rng.uniform(1, 2, 16), tf.float32)
    found = normalize(x, mean, variance, gamma, beta, 1e-5)
    wide = normalize(tf.cast(x, tf.float32), mean, variance, gamma, beta, 1e-5)
    assert found.dtype == x.dtype
    # Half a unit in the last of eight places.
    np.testing.assert_allclose(tf.cast(found, tf.float32), wide, rtol=2**-8)


@pytest.mark.parametrize(
    "shape, dtype", [((8, 3), "float32"), ((4, 2, 2, 3), "float64")]
)
def test_what_the_kernel_cannot_take_goes_the_plain_way(shape, dtype):
    x = tf.constant(np.random.default_rng(0).normal(size=shape), dtype)
    one, zero = tf.ones(3, dtype), tf.zeros(3, dtype)
    for found, plain in zip(
        normalize_batch(x, one, zero, 1e-5), plain_norm(x, one, zero, 1e-5), strict=True
    ):
        tolerance = {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(found, plain, **tolerance)


def test_masked_entries_are_left_out_of_the_moments():
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    mask = np.random.default_rng(1).random((4, 5)) < 0.6
    one, zero = tf.ones(3), tf.zeros(3)
    _, mean, variance = normalize_batch(tf.constant(x), one, zero, 1e-5, mask=mask)
    np.testing.assert_allclose(mean, x[mask].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, x[mask].var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (2, 4, 4, 3)])
def test_a_bias_is_a_sum(shape):
    rng = np.random.default_rng(0)
    x, bias = (rng.normal(size=s).astype("float32") for s in (shape, shape[-1:]))
    np.testing.assert_array_equal(add_bias(tf.constant(x), tf.constant(bias)), x + bias)
