"""Steps that are computed again: the gradients and statistics of those that are not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_rolled import L, assert_equal, images, normal, passed
from trained_run import parse

from cnet_tf import ContinuousClassifier, continuous_net, manifest
from cnet_tf.any_depth import with_members
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.rolled import segment_length
from cnet_tf.surgery import blocks_of
from trainers import first_net, memory
from trainers.errors import OptionError


@pytest.fixture(autouse=True)
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, unroll, compiled",
    [
        # Five steps are segments of three and two.
        ({"nodes": 2, "steps": 5, "scheme": "midpoint"}, True, True),
        ({"nodes": 2, "steps": 5, "scheme": "euler"}, False, True),
        ({"basis": "hat", "nodes": 3, "steps": 3, "unit": "pre"}, True, False),
        ({"nodes": 1, "steps": 3, "scheme": "euler"}, False, False),
    ],
    ids=str,
)
def test_gradients_and_statistics_are_the_same(arguments, unroll, compiled):
    compiled = tf.function if compiled else (lambda function: function)
    net, x, labels = images(**arguments), normal(4, 6, 6, 3), normal(4, 3)
    expected = passed(net, x, labels, tf.function)
    again = manifest(net, unroll=unroll, recompute=True)
    # Statistics among them: they move once, though moments are computed twice.
    for found, number in zip(passed(again, x, labels, compiled), expected, strict=True):
        np.testing.assert_allclose(found, number, rtol=1e-10, atol=1e-11)


def test_a_member_leaves_the_norms_of_others_without_gradients():
    """A gradient of zero would let them decay."""
    net = with_members(images(nodes=2, steps=2), ["euler:1"])
    twin = manifest(net, "euler", 1)
    again = manifest(twin, recompute=True)
    x, labels = normal(4, 6, 6, 3), normal(4, 3)
    both = [passed(one, x, labels, tf.function) for one in (twin, again)]
    assert_equal(*both)  # As many of them: those that are None are left out.


def kept(steps, recompute):
    """Tensors that the gradient reads of what was computed before it."""
    net = ContinuousClassifier(3, width=4, nodes=1, steps=steps, scheme="euler")
    net = manifest(net, recompute=recompute)
    found = []

    @tf.function
    def step(x):
        graph = tf.compat.v1.get_default_graph()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(net(x, training=True))
        forward = set(graph.get_operations())
        gradients = tape.gradient(loss, net.trainable_variables)
        backward = set(graph.get_operations()) - forward
        read = {x.ref() for operation in backward for x in operation.inputs}
        found.append(len([x for x in read if x.deref().op in forward]))
        return gradients

    step.get_concrete_function(tf.constant(normal(2, 2)))
    return found[0]


def test_what_is_kept_grows_as_the_root_of_the_steps():
    """Twelve steps more are two segments more."""
    growth = {again: kept(16, again) - kept(4, again) for again in (True, False)}
    assert growth[False] >= 12 and growth[True] <= 4, growth


def test_segments_are_as_many_as_they_are_long():
    lengths = [segment_length(n) for n in (1, 2, 3, 4, 5, 9, 10, 16)]
    assert lengths == [1, 2, 2, 2, 3, 3, 4, 4]


def test_the_choice_is_kept(tmp_path):
    net = manifest(ContinuousClassifier(3, width=4, nodes=2), recompute=True)
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    for twin in (again, manifest(again, "euler", 3), keras.models.clone_model(net)):
        assert all(block.recompute for block in blocks_of(twin))


def test_what_would_draw_twice_is_refused():
    unit = keras.Sequential([L.Dense(4), L.Dropout(0.5)], name="unit")
    block = ContinuousBlock(unit, nodes=2, recompute=True)
    with pytest.raises(ValueError, match="recompute: expected False, as layer"):
        block(normal(2, 4))
    net = continuous_net("resnet20", input_shape=(8, 8, 1), blocks_per_stage=1)
    with pytest.raises(OptionError, match="--recompute: model: expected one with con"):
        first_net._manifested(net, "recompute", recompute=True)


@pytest.mark.slow
def test_memory_is_measured_and_saved(capsys):
    flags = ["--preset=digits", "--nodes=16", "--batch_size=256", "--rounds=1"]
    memory.main(parse([*flags, "--variants=graph,graph_recompute"], memory.Options))
    _, _, *rows = capsys.readouterr().out.splitlines()
    whole, again = (float(row.split("|")[3]) for row in rows)
    assert again < whole
