"""Counts the floating-point operations of a net in its own graph."""

import contextlib
import io

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

    return convert_variables_to_constants_v2(forward.get_concrete_function()).graph


def forward_flops(net, image_shape) -> int | None:
    """Counts operations of a forward pass of one image; a multiply-add is two.

    Of unrolled graphs TensorFlow's count per operation is exact; of a loop it would
    count one step. None where Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with contextlib.redirect_stdout(io.StringIO()):
        profile = tf.compat.v1.profiler.profile(
            frozen_graph(unrolled(net), image_shape), options=options
        )
    return profile.total_float_ops
