"""(scheme, steps) of a trained net, and the recalibration of its batch norms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.manifestation import (
    manifest,
    normalizations,
    recalibrate,
    restore_statistics,
    statistics,
)
from cnet_tf.resnet import ResNet
from cnet_tf.surgery import blocks_of

IMAGE = (8, 8, 3)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def image_net(**arguments):
    arguments = {"nodes": 1, "scheme": "euler", **arguments}
    return ContinuousNet(3, (4, 8), strides=(1, 2), input_shape=IMAGE, **arguments)


@pytest.fixture
def classifier():
    """Smooth, float64: differences between schemes are not rounding."""
    keras.config.set_dtype_policy("float64")
    net = ContinuousClassifier(3, width=4, nodes=2, scheme="rk4", steps=4, horizon=2)
    for v in net.variables:
        v.assign(np.random.default_rng(v.shape[0]).normal(size=v.shape))
    yield net
    keras.config.set_dtype_policy("float32")


def state(net, x):
    """The float64 state before the head, whose logits are float32."""
    return np.array(keras.Model(net.input, net.get_layer("block_0").output)(x))


def test_variables_are_shared():
    net = image_net(nodes=2, unit="pre")
    twin = manifest(net, "rk4", 5)
    assert [b.steps for b in blocks_of(twin)] == [5, 5]
    assert [b.scheme for b in blocks_of(twin)] == ["rk4", "rk4"]
    assert [b.name for b in blocks_of(twin)] == [b.name for b in blocks_of(net)]
    assert len(twin.variables) == len(net.variables)
    assert all(a is b for a, b in zip(net.variables, twin.variables, strict=True))
    assert [b.scheme for b in blocks_of(net)] == ["euler", "euler"]
    assert [layer.name for layer in twin.layers] == [x.name for x in net.layers]


@pytest.mark.parametrize("steps", [None, 2, (2, 2)])
@pytest.mark.parametrize("training", [False, True])
def test_the_own_manifestation_is_bit_equal(steps, training):
    net = image_net(nodes=2)
    x = normal((4, *IMAGE))
    before = statistics(net)
    y = net(x, training=training)
    moved = statistics(net)
    restore_statistics(net, before)
    np.testing.assert_array_equal(manifest(net, steps=steps)(x, training=training), y)
    for a, b in zip(moved, statistics(net), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_restriction_is_that_of_a_net_built_with_it(classifier):
    point = manifest(classifier, "euler", 1, restriction="point")
    (block,) = blocks_of(point)
    assert block.restriction == "point"
    # One step of Euler at t = 0 sees the first cell alone, on average it sees both.
    first = [np.array(series.variable)[0] for series in block.series]
    for series, value in zip(block.series, first, strict=True):
        series.variable.assign(np.stack([value, np.zeros_like(value)]))
    x = normal((3, 2))
    skipped = state(point, x)
    averaged = state(manifest(point, restriction="average"), x)
    for series, value in zip(block.series, first, strict=True):
        series.variable.assign(np.stack([value, value]))
    np.testing.assert_array_equal(state(point, x), skipped)
    assert np.abs(averaged - skipped).max() > 1e-3


def test_schemes_converge_to_one_another(classifier):
    x = normal((5, 2))
    limit = state(manifest(classifier, "dopri5", 32), x)
    for scheme, order in (("euler", 1), ("heun2", 2), ("kutta3", 3), ("rk4_38", 4)):
        errors = [
            np.abs(state(manifest(classifier, scheme, n), x) - limit).max()
            for n in (8, 16)
        ]
        assert 0 < errors[1] < errors[0] * 2 ** (0.5 - order), scheme
    assert np.abs(state(manifest(classifier, "rk4_38", 32), x) - limit).max() < 1e-4


def test_a_manifestation_of_a_manifestation(classifier):
    x = normal((5, 2))
    there = manifest(manifest(classifier, "euler", 3), "rk4", 4)
    np.testing.assert_array_equal(there(x), classifier(x))


def test_training_a_manifestation_changes_the_original(classifier):
    x, label = normal((8, 2)), np.arange(8) % 3
    twin = manifest(classifier, "midpoint", 2)
    before = np.array(classifier(x))
    optimizer = keras.optimizers.SGD(0.1)
    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(
            label, twin(x, training=True), from_logits=True
        )
    variables = twin.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
    assert np.abs(np.array(classifier(x)) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "rk5"}, "scheme: expected one of"),
        (
            {"restriction": "mean"},
            "restriction: expected one of average, quadrature, point",
        ),
        ({"steps": 0}, "steps: expected an integer >= 1"),
        ({"steps": (1, 2, 3)}, "steps: expected a number or 2 of them"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        manifest(image_net(), **arguments)


def test_refuses_nets_without_blocks():
    with pytest.raises(ValueError, match="model: expected one with continuous blocks"):
        manifest(ResNet(3, 1, widths=(4,), stem_width=4, input_shape=IMAGE), "euler")


def test_refuses_nets_not_built():
    net = keras.Sequential([ContinuousBlock(keras.layers.Dense(3))])
    with pytest.raises(ValueError, match="model: expected a built model"):
        manifest(net, "euler")


def test_keras_file_of_a_manifestation(tmp_path):
    twin = manifest(image_net(nodes=2), "heun2", 3)
    twin.save(tmp_path / "twin.keras")
    loaded = keras.models.load_model(tmp_path / "twin.keras")
    assert [(b.scheme, b.steps) for b in blocks_of(loaded)] == [("heun2", 3)] * 2
    x = normal((3, *IMAGE))
    np.testing.assert_array_equal(loaded(x), twin(x))


def test_recalibration_is_the_mean_of_batch_moments():
    """Of the stem and of the first norm of block 0, computed layer by layer."""
    net = image_net()
    batches = [normal((4, *IMAGE), seed) + seed for seed in range(3)]
    weights = [v.numpy() for v in net.trainable_variables]
    expected = []
    for x in batches:
        stem, transition, block = net.layers[1:4]
        first = np.array(stem.layers[0](x))
        h = transition(stem(x, training=True), training=True)
        conv, relu = block.rate.layers[:2]
        second = np.array(relu(conv(h)))
        expected.append(
            [s for y in (first, second) for s in (y.mean((0, 1, 2)), y.var((0, 1, 2)))]
        )
    # Whatever the statistics were, they are forgotten.
    restore_statistics(net, [7 + s for s in statistics(net)])
    assert recalibrate(net, batches) == 3
    norms = net.layers[1].layers[1], blocks_of(net)[0].rate.layers[2]
    got = [
        s.variable.numpy()[0]
        for norm in norms
        for s in (norm.moving_mean, norm.moving_variance)
    ]
    for mine, theirs in zip(got, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(mine, np.mean(theirs, axis=0), rtol=1e-4, atol=1e-5)
    for v, old in zip(net.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(v.numpy(), old)
    assert {norm.momentum for norm in normalizations(net)} == {0.9}


def test_recalibration_takes_pairs_and_puts_momenta_back():
    net = image_net()
    batches = [(normal((4, *IMAGE), seed), np.zeros(4)) for seed in range(2)]
    assert recalibrate(net, batches) == 2
    pairs = statistics(net)
    assert recalibrate(net, (x for x, _ in batches)) == 2
    for a, b in zip(pairs, statistics(net), strict=True):
        np.testing.assert_array_equal(a, b)

    def broken():
        yield batches[0]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        recalibrate(net, broken())
    assert {norm.momentum for norm in normalizations(net)} == {0.9}
    with pytest.raises(ValueError, match="data: expected at least one batch"):
        recalibrate(net, [])


def test_statistics_are_copies_and_can_be_restored():
    net = image_net(nodes=2)
    x = normal((4, *IMAGE))
    before, y = statistics(net), np.array(net(x))
    assert len(before) == 2 * len(normalizations(net))
    recalibrate(manifest(net, "rk4", 3), [5 * x])
    assert np.abs(np.array(net(x)) - y).max() > 1e-3
    restore_statistics(net, before)
    np.testing.assert_array_equal(net(x), y)


def test_recalibration_of_a_frozen_net_leaves_weights():
    """`non_trainable_variables` of a frozen net are not only statistics."""
    net = image_net()
    net.trainable = False
    assert len(statistics(net)) == 2 * len(normalizations(net))


def test_recalibration_repairs_another_scheme():
    """After recalibration in training statistics, evaluation is close to training."""
    net = image_net(nodes=1, steps=1, horizon=4)
    twin = manifest(net, "euler", 4)
    x = normal((8, *IMAGE))
    recalibrate(net, [x])
    target = np.array(twin(x, training=True))

    def distance():
        return np.abs(np.array(twin(x)) - target).max()

    recalibrate(net, [x])
    before = distance()
    recalibrate(twin, [x])
    assert distance() < before
