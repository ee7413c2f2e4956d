"""Refinement and projection carry the optimizer over: slots, counts, learning rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from refinable_nets import SIZES, X, classifier

from cnet_tf.refinement import project, refine
from cnet_tf.slot_table import slot_lists
from cnet_tf.surgery import blocks_of, series_of

LABEL = np.arange(8) % 3


def train_step(net, optimizer, x=X, label=LABEL):
    with tf.GradientTape() as tape:
        losses = keras.losses.sparse_categorical_crossentropy(
            label, net(x, training=True), from_logits=True
        )
        loss = tf.reduce_mean(losses)
    variables = net.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
    return float(loss)


def trained(optimizer, steps=3, **arguments):
    net = classifier(**arguments)
    optimizer.build(net.trainable_variables)
    for _ in range(steps):
        train_step(net, optimizer)
    return net, optimizer


def block_slots(net, slots):
    """The slots of the block's series: the kernels and biases of both dense layers."""
    return [
        slot.numpy()
        for v, slot in zip(net.trainable_variables, slots, strict=True)
        if any(v is s.variable for s in series_of(net))
    ]


def matrix(basis):
    """P of a refinement by two, by hand."""
    if basis == "constant":  # 2 -> 4
        return np.repeat(np.eye(2), 2, axis=0)
    return np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("basis", ["constant", "hat"])
def test_momentum_is_prolonged(basis, nesterov):
    sgd = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov, weight_decay=1e-4)
    net, optimizer = trained(sgd, basis=basis, nodes=SIZES[basis])
    new, twin = refine(net, 2, optimizer=optimizer)
    assert twin is not optimizer
    assert twin.get_config() == optimizer.get_config()
    old_slots = block_slots(net, optimizer.momentums)
    new_slots = block_slots(new, twin.momentums)
    assert len(old_slots) == len(new_slots) == 4
    for old, got in zip(old_slots, new_slots, strict=True):
        assert np.any(old)
        expected = np.tensordot(matrix(basis), old, axes=1)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    # Stem and head have no depth.
    for k in (0, 1, -2, -1):
        np.testing.assert_array_equal(
            optimizer.momentums[k].numpy(), twin.momentums[k].numpy()
        )
    assert int(twin.iterations) == int(optimizer.iterations) == 3
    assert float(twin.learning_rate) == float(optimizer.learning_rate)


def test_the_current_learning_rate_is_carried():
    net, optimizer = trained(keras.optimizers.SGD(0.1, momentum=0.9))
    optimizer.learning_rate.assign(0.003)
    _, twin = refine(net, optimizer=optimizer)
    np.testing.assert_allclose(float(twin.learning_rate), 0.003, rtol=1e-6)


def test_schedules_go_on():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    net, optimizer = trained(keras.optimizers.SGD(schedule, momentum=0.9), steps=4)
    _, twin = refine(net, optimizer=optimizer)
    assert int(twin.iterations) == 4
    np.testing.assert_allclose(float(twin.learning_rate), 0.01, rtol=1e-6)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "plain_sgd": lambda: keras.optimizers.SGD(0.05),
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw_ema": lambda: keras.optimizers.AdamW(0.01, use_ema=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "lion": lambda: keras.optimizers.Lion(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_variable_has_its_slots_and_learns(name):
    """Keras raises nothing when a grown net is trained through the old slots."""
    net, optimizer = trained(OPTIMIZERS[name]())
    new, twin = refine(net, 2, optimizer=optimizer)
    slots = slot_lists(twin).values()
    assert slots or name == "plain_sgd"
    for slot in slots:
        assert [tuple(s.shape) for s in slot] == [
            tuple(v.shape) for v in new.trainable_variables
        ]
    assert int(twin.iterations) == 3
    before = [v.numpy() for v in new.trainable_variables]
    train_step(new, twin)
    for v, old in zip(new.trainable_variables, before, strict=True):
        change = np.abs(v.numpy() - old)
        if any(v is s.variable for s in series_of(new)):  # (K, ..): every cell moved
            assert np.all(change.reshape(change.shape[0], -1).max(axis=1) > 0), v.path
        assert np.any(change), v.path


def test_cells_part_ways_after_refinement():
    net, optimizer = trained(keras.optimizers.SGD(0.1, momentum=0.9))
    new, twin = refine(net, 2, optimizer=optimizer)
    for s in blocks_of(new)[0].series:
        np.testing.assert_array_equal(s.variable[0], s.variable[1])
    train_step(new, twin)
    for s in blocks_of(new)[0].series:
        assert np.any(s.variable[0] != s.variable[1])


def test_second_moments_stay_positive_under_projection():
    net, optimizer = trained(keras.optimizers.Adam(0.01), nodes=4)
    for v in optimizer._velocities:  # all the weight in the first cell undershoots
        if v.shape[0] == 4 and len(v.shape) > 1:
            v.assign(np.zeros(v.shape) + np.eye(4)[0].reshape(4, *[1] * (v.ndim - 1)))
    for basis, nodes in (("hat", 5), ("legendre", 4), ("linear", 4)):
        new, twin = project(net, basis, nodes, optimizer=optimizer)
        assert min(v.numpy().min() for v in twin._velocities) >= 0
        assert any(m.numpy().min() < 0 for m in twin._momentums)
        train_step(new, twin)
        assert all(np.all(np.isfinite(v.numpy())) for v in new.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("basis", [("hat", 5), ("legendre", 4), ("linear", 4)])
def test_adam_moves_no_further_after_a_projection_than_without(basis):
    """Second moments clipped at zero: hundreds of learning rates."""

    def largest_step(net, optimizer):
        before = [v.numpy() for v in net.trainable_variables]
        train_step(net, optimizer)
        pairs = zip(net.trainable_variables, before, strict=True)
        return max(np.abs(v.numpy() - old).max() for v, old in pairs)

    net, optimizer = trained(keras.optimizers.Adam(0.01), steps=20, nodes=4)
    after = largest_step(*project(net, *basis, optimizer=optimizer))
    assert 0 < after < 1.2 * largest_step(net, optimizer) < 0.02


@pytest.mark.parametrize("change", [refine, lambda n, **k: project(n, "hat", 4, **k)])
def test_momenta_within_a_loss_scale_are_mapped(change):
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    net, inner = trained(keras.optimizers.SGD(0.1, momentum=0.9))
    optimizer = keras.optimizers.LossScaleOptimizer(sgd)
    optimizer.build(net.trainable_variables)
    for target, slot in zip(sgd.momentums, inner.momentums, strict=True):
        target.assign(slot)
    _, expected = change(net, optimizer=inner)
    new, twin = change(net, optimizer=optimizer)
    for a, b, v in zip(
        twin.inner_optimizer.momentums,
        expected.momentums,
        new.trainable_variables,
        strict=True,
    ):
        assert a.shape == v.shape
        np.testing.assert_array_equal(a, b)


def test_loss_is_continuous_at_a_jump():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    net, optimizer = trained(optimizer, steps=15)
    losses = [train_step(net, optimizer) for _ in range(3)]

    def loss(net):
        return float(
            tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(
                    LABEL, net(X), from_logits=True
                )
            )
        )

    assert loss(refine(net, 2, steps_factor=1)) == loss(net)
    new, twin = refine(net, 2, optimizer=optimizer)
    assert abs(loss(new) - loss(net)) < 0.01 * loss(net)
    after = [train_step(new, twin) for _ in range(15)]
    assert abs(after[0] - losses[-1]) < 0.2 * losses[-1]
    assert after[-1] < losses[-1]
