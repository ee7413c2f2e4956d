"""One update and one evaluation, against the formulas written out."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cnet_tf import ContinuousBlock, continuous_net, manifest
from trainers import steps
from trainers.loss import loss_per_example, training_loss
from trainers.options import Options
from trainers.strategy import make_strategy

L2 = {"batch_size": 12, "weight_decay": 0.01, "smoothing": 0.0}


@pytest.fixture
def net():
    net = continuous_net("digits", scheme="euler")
    return net


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(12, 8, 8, 1)), tf.float32)
    return images, tf.constant(np.arange(12) % 10, tf.int64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_smoothed_cross_entropy(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4))
    labels = np.array([0, 1, 2, 3, 0, 1])
    targets = np.eye(4)[labels] * (1 - smoothing) + smoothing / 4
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(targets * logp).sum(axis=1)
    total, losses, *_ = training_loss(
        giving(tf.constant(logits)), None, labels, smoothing=smoothing
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-6)
    if not smoothing:
        found = loss_per_example(labels, tf.constant(logits))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def giving(logits):
    """A net with these answers to whatever it is shown."""

    def net(images, training):
        return logits

    net.losses = []
    return net


def test_sgd_step_is_gradient_plus_l2(net, batch):
    images, labels = batch
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(net.trainable_variables)
    before = [ops.convert_to_numpy(v) for v in net.trainable_variables]
    with tf.GradientTape() as tape:
        losses = loss_per_example(labels, net(images, training=True))
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [v.value for v in net.trainable_variables])
    update = steps.training_program(net, optimizer, tf.distribute.get_strategy(), **L2)
    total, correct, count, flags = update(images, labels, True)
    np.testing.assert_allclose(total, 12 * loss, rtol=1e-5)
    assert count == 12 and 0 <= correct <= 12 and flags == 1
    for old, new, g in zip(before, net.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(new),
            old - 0.1 * (g + 0.01 * old),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["pixel", "weight", "square"])
@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_an_update_that_is_not_finite_is_not_made(what, strategy, batch):
    """A loss that is not finite, and a gradient whose norm overflows."""
    strategy = make_strategy(dataclasses.replace(Options(), strategy=strategy))
    with strategy.scope():
        net = continuous_net("digits", scheme="euler")
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        optimizer.build(net.trainable_variables)
    update = steps.training_program(net, optimizer, strategy, **L2)

    def run(images):
        batches = tf.data.Dataset.from_tensors((images, batch[1])).unbatch().batch(12)
        (parts,) = strategy.experimental_distribute_dataset(batches)
        return update(*parts)

    assert np.isfinite(run(batch[0])).all()
    images = batch[0].numpy()
    if what == "pixel":
        images[-1, 0, 0, 0] = np.inf  # Seen by one replica only.
    else:
        weight = net.trainable_variables[-1 if what == "weight" else -2]
        value = ops.convert_to_numpy(weight).copy()
        value[0] = np.nan if what == "weight" else 1e25
        with strategy.scope():
            weight.assign(value)
    held = [*net.trainable_variables, *optimizer.variables]
    before = [ops.convert_to_numpy(v) for v in held]
    assert not np.isfinite(run(tf.constant(images))[0])
    assert optimizer.iterations == 1
    for old, new in zip(before, held, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))


def test_evaluation_counts_the_uneven_last_batch_and_changes_nothing(net, batch):
    images, labels = batch
    before = [ops.convert_to_numpy(v) for v in net.variables]
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    scores = steps.evaluate(net, data)
    logits = net(images, training=False)
    losses = loss_per_example(labels, logits)
    np.testing.assert_allclose(scores["loss"], np.mean(losses), rtol=1e-5)
    assert scores["accuracy"] == np.mean(np.argmax(logits, axis=-1) == labels)
    for old, new in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))


def test_what_layers_add_to_the_loss_counts():
    """Regularizers of weights and of activity."""
    own, plain = (
        keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(4, kernel_regularizer="l2" if added else None),
                *[keras.layers.ActivityRegularization(l2=0.1)] * added,
                keras.layers.Dense(3),
            ]
        )
        for added in (True, False)
    )
    plain.set_weights(own.get_weights())
    images = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    labels = np.arange(8) % 3
    settings = {"batch_size": 8, "weight_decay": 0.0, "smoothing": 0.0}
    found, sums = steps.gradients(own, images, labels, **settings)
    without, same = steps.gradients(plain, images, labels, **settings)
    np.testing.assert_array_equal(sums[:3], same[:3])  # Cross entropies.
    with tf.GradientTape() as tape:
        own(images, training=True)
        more = tf.add_n(own.losses)
    more = tape.gradient(more, [v.value for v in own.trainable_variables])
    for g, a, b in zip(found, without, more, strict=True):
        b = np.zeros_like(a) if b is None else b
        np.testing.assert_allclose(g, a + b, rtol=1e-5, atol=1e-7)
    assert max(np.abs(b).max() for b in more if b is not None) > 1e-2


def test_what_layers_add_is_the_net_s_own_beside_members():
    unit = keras.layers.Dense(4, "tanh", activity_regularizer="l2")
    block = ContinuousBlock(unit, nodes=2, scheme="rk4")
    net = keras.Sequential([keras.Input((4,)), block, keras.layers.Dense(3)])
    member = manifest(net, "euler", 1)
    images = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    given = images, np.arange(8) % 3
    alone = training_loss(net, *given, smoothing=0.0)[-1]
    both = training_loss(
        net, *given, smoothing=0.0, members=[member], member_weight=0.3
    )[-1]
    assert float(both) == float(alone) > 0


def test_losses_of_logits_in_half_precision_are_those_of_their_values():
    logits = np.random.default_rng(0).normal(size=(64, 10)).astype("float32")
    half = tf.cast(logits, tf.bfloat16)
    labels = np.arange(64) % 10
    _, found, *_ = training_loss(giving(half), None, labels, smoothing=0.0)
    expected = loss_per_example(labels, tf.cast(half, tf.float32))
    np.testing.assert_array_equal(found, expected)


def test_label_smoothing_is_the_formula():
    """(1 - s) CE(label) + s mean_c CE(c)."""
    logits = np.random.default_rng(0).normal(size=(5, 4))
    labels = np.array([0, 3, 1, 1, 2])
    logs = -logits + np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    expected = 0.9 * logs[np.arange(5), labels] + 0.1 * np.mean(logs, axis=1)
    net = giving(keras.ops.convert_to_tensor(logits))
    _, found, *_ = training_loss(net, None, labels, smoothing=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
