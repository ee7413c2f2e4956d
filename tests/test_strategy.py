"""Replicas train like one device: gradients are summed, weight decay counted once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cnet_tf import ContinuousClassifier
from trainers import steps
from trainers.errors import OptionError
from trainers.strategy import make_strategy


def _trained(strategy, updates):
    """Weights of a net without batch norm after some updates on the same batches."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        net = ContinuousClassifier(3, width=6, nodes=2)
        net.build((None, 4))
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        optimizer.build(net.trainable_variables)

    def step(images, labels):
        return steps.train_step(
            net,
            optimizer,
            images,
            labels,
            batch_size=16,
            weight_decay=0.05,
            smoothing=0.1,
        )

    run = steps.distributed(step, strategy)
    x = rng.normal(size=(16 * 8, 4)).astype("float32")
    y = rng.integers(0, 3, 16 * 8)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16).take(updates)
    for batch in strategy.experimental_distribute_dataset(batches):
        assert run(*batch)[2] == 16
    return [ops.convert_to_numpy(v) for v in net.trainable_variables]


def test_two_replicas_train_like_one_device():
    start = _trained(make_strategy("none"), 0)
    one = _trained(make_strategy("none"), 5)
    two = _trained(make_strategy("mirrored", 2), 5)
    for w, a, b in zip(start, one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.max(np.abs(a - w)) > 1e-2


def test_bad_strategies_are_refused():
    with pytest.raises(OptionError, match="--strategy: .*'moon'"):
        make_strategy("moon")
    with pytest.raises(OptionError, match="--replicas: expected at most 2"):
        make_strategy("mirrored", 3)
