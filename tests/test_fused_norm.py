"""TensorFlow's fused kernel keeps the contract of the plain one."""

import numpy as np
import pytest
import tensorflow as tf

from cnet_tf.series_norm import batch_moments_norm
from trainers.fused_norm import fused_batch_moments_norm


def test_values_and_gradients_agree_with_the_plain_operations():
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(2, 3, (4, 5, 6, 7)), tf.float32)
    gamma, beta = (tf.constant(rng.normal(size=7), tf.float32) for _ in range(2))
    weight = tf.constant(rng.normal(size=x.shape), tf.float32)
    results = []
    for kernel in (batch_moments_norm, fused_batch_moments_norm):
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y, mean, variance = kernel(x, gamma, beta, 1e-5)
            loss = tf.reduce_sum(weight * y)
        results.append([y, mean, variance, *tape.gradient(loss, [x, gamma, beta])])
    for plain, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "shape, dtype", [((8, 3), "float32"), ((4, 2, 2, 3), "float64")]
)
def test_what_the_kernel_cannot_take_goes_the_plain_way(shape, dtype):
    x = tf.constant(np.random.default_rng(0).normal(size=shape), dtype)
    one, zero = tf.ones(3, dtype), tf.zeros(3, dtype)
    for fused, plain in zip(
        fused_batch_moments_norm(x, one, zero, 1e-5),
        batch_moments_norm(x, one, zero, 1e-5),
        strict=True,
    ):
        np.testing.assert_array_equal(fused, plain)
