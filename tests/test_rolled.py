"""Steps in a loop: the numbers of the unrolled block, in a graph that does not grow."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf import ContinuousClassifier, ContinuousNet, manifest
from cnet_tf.any_depth import with_members
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.manifestation import restore_statistics, statistics, unrolled
from cnet_tf.surgery import blocks_of

L = keras.layers


@pytest.fixture(autouse=True)
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def images(basis="constant", nodes=4, steps=None, **arguments):
    shape = {"input_shape": (6, 6, 3), "strides": (1, 2)}
    return ContinuousNet(
        3, (2, 3), nodes=nodes, steps=steps, basis=basis, **shape, **arguments
    )


def passed(net, x, labels, compiled=lambda function: function):
    """Loss, gradients and the statistics that a step of training leaves."""

    @compiled
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((net(x, training=True) - labels) ** 2)
        gradients = tape.gradient(loss, net.trainable_variables)
        read = [g for g in gradients if g is not None]  # Not of other members.
        return [loss, *map(tf.convert_to_tensor, read)]

    before = statistics(net)
    numbers = step()
    after = statistics(net)
    restore_statistics(net, before)
    return [*numbers, *after]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"scheme": "euler", "horizon": 4, "steps": 2, "restriction": "point"},
        {"steps": 4, "scheme": "kutta3", "nodes": 2},
        {"steps": 1, "scheme": "rk4", "nodes": 2, "restriction": "quadrature"},
        {"steps": 2, "scheme": "midpoint"},
        {"steps": 2, "basis": "legendre", "scheme": "midpoint", "unit": "pre"},
    ],
    ids=str,
)
def test_loop_and_unrolled_steps_agree(arguments):
    net = images(**arguments)
    looped = manifest(net, unroll=False)
    assert [block.unroll for block in blocks_of(looped)] == [False, False]
    x, labels = normal(4, 6, 6, 3), normal(4, 3)
    np.testing.assert_allclose(looped(x), net(x), rtol=1e-12, atol=1e-12)
    expected = passed(net, x, labels)
    assert_equal(passed(looped, x, labels, tf.function), expected)


@pytest.mark.slow
def test_they_agree_eagerly_and_under_xla():
    net = images(nodes=2, scheme="midpoint")
    looped = manifest(net, unroll=False)
    x, labels = normal(4, 6, 6, 3), normal(4, 3)
    expected = passed(net, x, labels)
    assert_equal(passed(looped, x, labels), expected)
    xla = tf.function(jit_compile=True)
    assert_equal(passed(looped, x, labels, xla), expected)


@pytest.mark.slow
def test_a_member_in_a_loop_reads_its_own_norms():
    net = with_members(images(nodes=2, steps=2), ["euler:1"])
    x, labels = normal(4, 6, 6, 3), normal(4, 3)
    for v in net.trainable_variables:
        v.assign_add(0.1 * normal(*v.shape))
    twins = [manifest(net, "euler", 1, unroll=unroll) for unroll in (True, False)]
    one, other = (passed(twin, x, labels, tf.function) for twin in twins)
    assert_equal(one, other)


def test_frozen_norms_stay():
    net = manifest(images(nodes=2), unroll=False)
    net.trainable = False
    before = statistics(net)
    net(normal(4, 6, 6, 3), training=True)
    for old, new in zip(before, statistics(net), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_graph_of_many_steps_is_no_larger():
    def nodes(steps):
        net = ContinuousClassifier(3, width=4, nodes=1, steps=steps)
        net = manifest(net, unroll=False)
        function = tf.function(lambda x: net(x)).get_concrete_function(normal(2, 2))
        graph = function.graph.as_graph_def()
        return len(graph.node) + sum(len(f.node_def) for f in graph.library.function)

    assert nodes(64) == nodes(2)


def test_attention_in_a_loop():
    inputs = keras.Input((5, 4))
    unit = L.MultiHeadAttention(2, 2)
    x = L.Dense(4)(inputs)
    rate = keras.Input((5, 4))
    rate = keras.Model(rate, unit(rate, rate))
    net = keras.Model(inputs, ContinuousBlock(rate, nodes=3)(x))
    x, labels = normal(2, 5, 4), normal(2, 5, 4)
    looped = manifest(net, unroll=False)
    assert_equal(passed(looped, x, labels, tf.function), passed(net, x, labels))


def test_the_choice_is_kept(tmp_path):
    net = manifest(images(nodes=2), unroll=False)
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    for twin in (again, manifest(again, "euler", 3), keras.models.clone_model(net)):
        assert [block.unroll for block in blocks_of(twin)] == [False, False]
    assert all(block.unroll for block in blocks_of(unrolled(again)))
    net = images(nodes=2)
    assert unrolled(net) is net


@pytest.mark.parametrize(
    "layer", [L.Dropout(0.5), L.Dense(4, activity_regularizer="l2")], ids=["draw", "l2"]
)
def test_what_leaves_more_behind_than_moments_is_refused(layer):
    unit = keras.Sequential([L.Dense(4), layer], name="unit")
    block = ContinuousBlock(unit, nodes=2, unroll=False)
    with pytest.raises(ValueError, match="unroll: expected True, as layer"):
        block(normal(2, 4))
