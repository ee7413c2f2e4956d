import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import Model, TensorType
from ai_edge_litert.tools import flatbuffer_utils

from export import tflite_conversion, tflite_file, tflite_graph

SHAPE = (6, 6, 2)
DESCRIPTION = {
    "architecture": "net",
    "data": "noise",
    "labels": ["a", "b", "c"],
    "image_shape": list(SHAPE),
    "input": "normalized",
    "input_text": "floats",
    "normalization": {"mean": [0, 0], "std": [1, 1]},
    "outputs": ["label", "logits"],
}


def _images(count):
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype("float32")


class _Net(tf.Module):
    """Two depths of one convolution, so that signatures have something to share."""

    def __init__(self):
        draw = np.random.default_rng(0).normal
        self.kernel = tf.Variable(draw(size=(3, 3, 2, 2)).astype("float32"))
        self.head = tf.Variable(draw(size=(2, 3)).astype("float32"))

    def serve(self, x, depth):
        for _ in range(depth):
            x = x + tf.nn.conv2d(x, self.kernel, 1, "SAME") / 4
        logits = tf.reduce_mean(x, (1, 2)) @ self.head
        return {"logits": logits, "label": tf.argmax(logits, -1, tf.int32)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder, net = tmp_path_factory.mktemp("archive"), _Net()
    spec = tf.TensorSpec((None, *SHAPE), tf.float32, "image")
    signatures = {
        name: tf.function(
            lambda image, depth=depth: net.serve(image, depth), input_signature=[spec]
        ).get_concrete_function()
        for name, depth in (("serving_default", 2), ("deeper", 5))
    }
    tf.saved_model.save(net, str(folder), signatures)
    return folder


@pytest.fixture(scope="module", params=["float32", "int8"])
def before_and_after(request, archive):
    """A file as it was converted, and the same file finished."""
    inputs = [image[None] for image in _images(50)]
    content = tflite_conversion.convert(
        archive, ["serving_default", "deeper"], request.param, inputs, tf.int8
    )
    return content, tflite_file.finish(content, DESCRIPTION)


def _unpacked(content):
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def _outputs(content, signature):
    runner = Interpreter(model_content=content).get_signature_runner(signature)
    details = runner.get_input_details()["image"]
    image = _images(64)
    if details["dtype"] == np.int8:
        scale, zero = details["quantization"]
        image = np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8)
    return runner(image=image)


@pytest.mark.parametrize("signature", ["serving_default", "deeper"])
def test_outputs_are_the_same_to_the_bit(before_and_after, signature):
    before, after = (_outputs(content, signature) for content in before_and_after)
    assert before.keys() == after.keys() == {"logits", "label"}
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
        assert after[name].dtype == value.dtype
    assert len(set(before["label"])) > 1


def test_the_file_is_smaller_by_what_no_runtime_reads(before_and_after):
    before, after = map(_unpacked, before_and_after)
    assert len(before_and_after[1]) < len(before_and_after[0])
    data = [b.data.tobytes() for b in after.buffers if b.data is not None]
    assert len(data) == len(set(data))
    # One empty buffer, which the schema wants first.
    assert len(after.buffers) == 1 + len(data)
    for graph in after.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        inner = [t.name for i, t in enumerate(graph.tensors) if i not in ends]
        assert len(inner) == len(set(inner))
        assert all(len(name) <= 4 for name in inner)
    ends = [
        [g.tensors[i].name.decode() for i in (*g.inputs, *g.outputs)]
        for g in after.subgraphs
    ]
    assert ends == 2 * [["image", "label", "logits"]]  # As in the description.


def _starts(content):
    """Where the data of each constant begins, in bytes from that of the file."""
    model = Model.GetRootAs(bytearray(content), 0)
    for buffer in map(model.Buffers, range(model.BuffersLength())):
        if buffer.DataLength():
            yield buffer._tab.Vector(buffer._tab.Offset(4))


def test_constants_are_aligned_as_the_schema_demands(before_and_after):
    assert [start % 16 for start in _starts(before_and_after[1])].count(0) > 5
    assert all(start % 16 == 0 for start in _starts(before_and_after[1]))


def test_equal_vectors_are_written_once():
    models = [_unpacked(tflite_graph.pack(_model_of(n))) for n in (1, 4)]
    sizes = [len(tflite_graph.pack(_model_of(n))) for n in (1, 4)]
    assert [len(model.buffers) for model in models] == [1, 4]
    assert all(len(buffer.data) == 4000 for buffer in models[1].buffers)
    assert sizes[1] < 1.1 * sizes[0]


def _model_of(count):
    model = flatbuffer_utils.ModelT()
    model.buffers = [flatbuffer_utils.BufferT() for _ in range(count)]
    for buffer in model.buffers:
        buffer.data = np.arange(4000).astype(np.uint8)
    return model


@pytest.mark.parametrize("before_and_after", ["int8"], indirect=True)
def test_labels_are_read_from_integers(before_and_after):
    before, after = map(_unpacked, before_and_after)
    types = [
        {tensor.type for graph in model.subgraphs for tensor in graph.tensors}
        for model in (before, after)
    ]
    assert TensorType.FLOAT32 in types[0]  # Else there is nothing left to do.
    assert types[1] == {TensorType.INT8, TensorType.INT32}
    for graph in after.subgraphs:
        used = {i for o in graph.operators for i in (*o.inputs, *o.outputs)} - {-1}
        assert used == set(range(len(graph.tensors)))
    used = {o.opcodeIndex for graph in after.subgraphs for o in graph.operators}
    assert used == set(range(len(after.operatorCodes)))
