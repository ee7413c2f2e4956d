"""Maps of channels become norms: the same numbers, and fewer nodes in ONNX Runtime."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from export.onnx_file import in_fixed_order
from export.onnx_norms import with_norms

CHANNELS = 16  # A block of NCHWc, with and without AVX-512.
IMAGES = np.random.default_rng(1).normal(size=(2, CHANNELS, 6, 5)).astype("float32")


class Graph:
    """Writes a graph line by line; every method returns a name."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.nodes, self.weights = [], []

    def weight(self, value):
        name, value = f"weight{len(self.weights)}", np.asarray(value, "float32")
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind, *inputs, **attributes):
        self.nodes.append(
            helper.make_node(kind, inputs, [f"value{len(self.nodes)}"], **attributes)
        )
        return self.nodes[-1].output[0]

    def conv(self, x):
        """Padded with zeros, so that a shift in front of it shows at the border."""
        kernel = self.rng.normal(size=(CHANNELS, CHANNELS, 3, 3)) / 12
        bias = self.rng.normal(size=CHANNELS)
        weights = self.weight(kernel), self.weight(bias)
        return self.node("Conv", x, *weights, pads=[1] * 4)

    def relu(self, x):
        return self.node("Relu", x)

    def map(self, x, scale=True):
        """Of both signs, and zero."""
        shape = 1, CHANNELS, 1, 1
        if scale:
            values = self.rng.normal(size=shape)
            values[0, 0] = 0
            x = self.node("Mul", x, self.weight(values))
        return self.node("Add", self.weight(self.rng.normal(size=shape)), x)

    def times(self, factor, x):
        return self.node("Mul", self.weight(factor), x)

    def add(self, *inputs):
        return self.node("Add", *inputs)

    def model(self, *outputs):
        def value(name):
            shape = ["batch", *IMAGES.shape[1:]]
            return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            self.nodes, "net", [value("image")], [*map(value, outputs)], self.weights
        )
        opsets = [helper.make_opsetid("", 18)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def unit(graph, x, scale=False):
    """The slope of a post-activation unit; what is folded already has no scale."""
    x = graph.map(graph.relu(graph.conv(x)), scale)
    return graph.map(graph.relu(graph.conv(x)), scale)


def euler(graph, x):
    for _ in range(2):
        x = graph.add(x, unit(graph, x))
    return [graph.conv(x)]


def signs(graph, x):
    for _ in range(2):
        x = graph.add(unit(graph, x, scale=True), x)
    return [graph.conv(x)]


def rk4(graph, x):
    """With states that several sums read."""
    for _ in range(2):
        y1 = graph.add(x, unit(graph, x))
        y2 = graph.add(x, unit(graph, y1))
        k2 = graph.times(2, unit(graph, y2))
        end = graph.add(graph.add(y1, graph.times(2, y2)), k2)
        x = graph.times(1 / 3, graph.add(end, unit(graph, graph.add(x, k2))))
    return [graph.conv(x)]


def pre(graph, x):
    for _ in range(2):
        y = graph.conv(graph.relu(graph.map(x)))
        x = graph.add(x, graph.conv(graph.relu(graph.map(y))))
    return [graph.conv(graph.map(x))]


def other_readers(graph, x):
    """Sums that leave a shift to what reads them, and readers that take none."""
    slope = unit(graph, x)
    sums = [graph.add(x, slope), graph.add(graph.conv(x), slope)]
    kept = graph.node("Sigmoid", sums[0])
    mapped = graph.map(graph.add(graph.conv(x), slope), scale=False)
    ends = [graph.conv(mapped), graph.node("Sigmoid", mapped)]
    # A sum of an image and what is not known to be one.
    ends += [graph.add(graph.add(graph.conv(x), slope), "image")]
    return [graph.conv(graph.add(*sums)), kept, graph.map(x), sums[1], *ends]


# By graph: nodes of ONNX Runtime beside its convolutions, each with its ReLU. A unit
# has a norm inside; a sum and the norm in front of it are one. Those behind a
# convolution are in its kernel.
EXPECTED = {euler: 2 * 2, signs: 2 * 2, rk4: 2 * (4 + 7), pre: 2 + 1}


def run(model, path=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # It says that a saved graph is for this machine.
    if path is not None:
        options.optimized_model_filepath = str(path)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": IMAGES})


@pytest.mark.parametrize("write", [*EXPECTED, other_readers])
def test_the_numbers_stay_and_no_image_is_reordered(write, tmp_path):
    graph = Graph()
    model = graph.model(*write(graph, graph.relu(graph.conv("image"))))
    expected = run(model)
    model = in_fixed_order(with_norms(model))
    onnx.checker.check_model(model, full_check=True)
    for one, other in zip(run(model, tmp_path / "run.onnx"), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    if write in EXPECTED:
        nodes = onnx.load(tmp_path / "run.onnx").graph.node
        kinds = collections.Counter(node.op_type for node in nodes)
        if kinds["ReorderOutput"]:  # There is a blocked layout on this machine.
            assert kinds["ReorderInput"] == kinds["ReorderOutput"] == 1
            convs = sum(node.op_type == "Conv" for node in graph.nodes)
            assert sum(kinds.values()) - 2 - convs == EXPECTED[write]


def test_a_gelu_stays_as_it_is():
    """Runtimes know it by its nodes."""
    graph = Graph()
    x = graph.conv("image")
    inner = graph.add(graph.weight(1), graph.node("Erf", graph.times(0.5**0.5, x)))
    model = graph.model(graph.times(0.5, graph.node("Mul", x, inner)))
    before = [node.op_type for node in model.graph.node]
    assert [node.op_type for node in with_norms(model).graph.node] == before
