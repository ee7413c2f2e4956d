import numpy as np
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, pixels

from export import serving


def test_all_input_kinds_agree(runs):
    net = copy_of_keras(runs["small"], "rk4", 1)
    logits = {}
    for kind in serving.INPUTS:
        serve = tf.function(
            serving.serving_function(net, DIGITS, kind),
            input_signature=[serving.image_spec(kind, DIGITS)],
        )
        logits[kind] = serve(serving.feeder(DIGITS, kind)(pixels(5)))["logits"]
    np.testing.assert_array_equal(logits["uint8"], logits["float"])
    np.testing.assert_allclose(logits["uint8"], logits["normalized"], atol=1e-5)
