"""Models as data: a copy in another precision is made only where one is needed."""

import numpy as np
import pytest

from cnet_tf import continuous_net
from cnet_tf.architecture import in_precision
from cnet_tf.model_graph import layers_of


def test_a_model_in_float32_is_the_model_itself():
    net = continuous_net("digits", scheme="euler")
    assert in_precision(net, "float32") is net


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float64"])
def test_one_in_another_precision_is_copied_with_its_weights(dtype):
    net = continuous_net("digits", scheme="euler", dtype=dtype)
    twin = in_precision(net, "float32")
    assert {layer.dtype_policy.name for layer in layers_of(twin)} == {"float32"}
    assert dtype in {layer.dtype_policy.name for layer in layers_of(net)}
    for a, b in zip(net.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a.astype("float32"), b)


def test_a_model_in_mixed_precision_is_the_model_itself():
    """Its logits are in the precision of the weights."""
    net = continuous_net("digits", scheme="euler", dtype="mixed_bfloat16")
    assert in_precision(net, "mixed_bfloat16") is net
    twin = in_precision(in_precision(net, "float32"), "mixed_bfloat16")
    assert twin.get_layer("block_0").output.dtype == "bfloat16"
