"""A dense net of two features learns."""

import keras
import numpy as np

from cnet_tf.continuous_classifier import ContinuousClassifier


def two_moons(count, seed):
    """Two interleaved half circles with noise .1, centred."""
    rng = np.random.default_rng(seed)
    angle, label = rng.uniform(0, np.pi, count), rng.integers(0, 2, count)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x[label == 1] = [1.0, 0.5] - x[label == 1]
    x += rng.normal(scale=0.1, size=x.shape) - [0.5, 0.25]
    return x.astype("float32"), label


def test_classifier_learns_two_moons():
    net = ContinuousClassifier(2, width=8, nodes=2, scheme="midpoint")
    x, label = two_moons(256, seed=0)
    net.compile(
        keras.optimizers.Adam(0.03),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    net.fit(x, label, batch_size=64, epochs=20, verbose=0)
    x, label = two_moons(500, seed=1)
    assert np.mean(np.argmax(net(x), axis=1) == label) > 0.95
