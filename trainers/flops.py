"""Counts the floating-point operations of a net in its own graph."""

import contextlib
import io
import math

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from cnet_tf.manifestation import unrolled


def frozen_graph(net, image_shape, batch=1) -> tf.Graph:
    """Traces the inference graph of a net and turns its variables into constants.

    Args:
        net: Called with training=False.
        image_shape: (height, width, channels).
        batch: Images, or None for any number. Default 1.
    """

    @tf.function(input_signature=[tf.TensorSpec((batch, *image_shape), tf.float32)])
    def forward(images):
        return net(images, training=False)

    with inlined():
        traced = forward.get_concrete_function()
    return convert_variables_to_constants_v2(traced).graph


@contextlib.contextmanager
def inlined():
    """Traces nested functions as part of the outer one.

    Keras has XLA compile some layers separately, such as grouped convolutions. Tools
    that read a graph without running it, to count or convert, do not look into such
    calls.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def forward_flops(net, image_shape) -> int | None:
    """Counts the operations of a forward pass of one image; a multiply-add is two.

    Adds up what TensorFlow counts per operation, plus `Einsum`, which it does not
    count. The graph is unrolled, as only one step of a loop would be counted. None if
    Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    graph = frozen_graph(unrolled(net), image_shape)
    with contextlib.redirect_stdout(io.StringIO()):
        profile = tf.compat.v1.profiler.profile(graph, options=options)
    sums = sum(einsum_macs(n) for n in graph.get_operations() if n.type == "Einsum")
    return profile.total_float_ops + 2 * sums


def einsum_macs(node: tf.Operation) -> int:
    """Counts the multiply-adds of a two-factor `Einsum`: the product of all sizes."""
    terms = node.get_attr("equation").decode().split("->")[0].split(",")
    if len(terms) == 1:
        return 0  # A transposition or a sum.
    sizes = {}
    for term, x in zip(terms, node.inputs, strict=True):
        head, dots, tail = term.partition("...")
        middle = len(x.shape) - len(head) - len(tail)
        # Dimensions in the ellipsis are named from the right, as they broadcast.
        names = [*head, *(f"{dots}{i}" for i in range(middle, 0, -1)), *tail]
        for name, size in zip(names, x.shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values())
