"""Zeros around an image cost no operation where a format can say them in the kernel."""

import collections

import ai_edge_litert.interpreter as litert
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx

from cnet_tf import continuous_net
from cnet_tf.layer_factory import PADDINGS
from export.folding import fold

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype("float32")


@pytest.fixture(scope="module", params=PADDINGS)
def case(request):
    """(padding, net, the folded net as a function)."""
    settings = {"widths": (4, 4, 4), "padding": request.param, "input_shape": SHAPE}
    net = continuous_net("cifar10_2-2-2_pre_rk4", **settings)
    signature = [tf.TensorSpec((1, *SHAPE), tf.float32)]
    function = tf.function(fold(net), input_signature=signature)
    return request.param, net, function


@pytest.mark.slow
def test_onnx_pads_in_the_convolution(case):
    padding, net, function = case
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=18
    )
    counts = collections.Counter(node.op_type for node in model.graph.node)
    assert counts["Pad"] == 0
    pads = collections.Counter(
        tuple(a.ints)
        for node in model.graph.node
        for a in node.attribute
        if node.op_type == "Conv" and a.name == "pads"
    )
    strided = {"same": (0, 0, 1, 1), "symmetric": (1, 1, 1, 1)}[padding]
    assert pads[strided] >= 2
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: IMAGES})
    np.testing.assert_allclose(found, net(IMAGES), atol=1e-4)


def test_tflite_has_a_pad_for_each_strided_convolution(case):
    """It knows `same` and `valid` only."""
    padding, net, function = case
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()]
    )
    interpreter = litert.Interpreter(model_content=converter.convert())
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    assert names.count("PAD") == {"same": 0, "symmetric": 2}[padding]
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], IMAGES)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, net(IMAGES), atol=1e-4)
