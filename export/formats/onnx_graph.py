"""ONNX graphs, opset 18, for ONNX Runtime."""

import contextlib
import json
import logging
import pathlib

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from cnet_tf.model_graph import layers_of
from export import runtimes, serving, staging
from export.calibration import whole_batches
from export.formats.record import Format, Precision, Recipe, Tensor
from export.gate import Gate
from export.onnx_file import in_fixed_order, without_erfc
from export.onnx_int8 import quantize
from export.onnx_norms import with_norms
from export.source import Source
from trainers.errors import OptionError
from trainers.flops import inlined

OPSET = 18


def build(source: Source, recipe: Recipe, description: dict, folder) -> pathlib.Path:
    """Writes the graph of the first signature; see `Format.build`."""
    model = finished(
        source.graphs[runtimes.SIGNATURE], source, recipe, description, folder
    )
    path = pathlib.Path(folder, "model.onnx")
    with staging.writing():
        onnx.save(model, path)
    return path


def finished(
    graph, source: Source, recipe: Recipe, description: dict, folder
) -> onnx.ModelProto:
    """Returns the ONNX graph of one layer, quantised, ordered and checked.

    Args:
        graph: One of `source.graphs`.
        source, recipe, description, folder: See `Format.build`.

    Raises:
        OptionError: the layer has operations that ONNX lacks.
    """
    model = convert(graph, source.data, recipe.kind, recipe.outputs, recipe.batch)
    if FORMAT.precisions[recipe.precision].calibrated:
        feed = serving.feeder(source.data, recipe.kind)
        inputs = [feed(batch) for batch in whole_batches(recipe.samples, recipe.batch)]
        model = quantize(model, inputs, folder)
    else:
        # Integers have no blocked layout.
        model = with_norms(model)
    model = in_fixed_order(model)
    properties = {key: json.dumps(value) for key, value in description.items()}
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"--run, --model: expected layers that ONNX opset {OPSET} has. Received: "
            f"{reason}: use other layers, or another format."
        ) from error
    return model


def convert(
    graph,
    data: dict,
    kind: str,
    outputs: tuple[str, ...] = tuple(serving.OUTPUTS),
    batch: int | None = None,
) -> onnx.ModelProto:
    """Converts a layer from images to logits to ONNX; see `serving_function`."""
    serve = tf.function(
        serving.serving_function(graph, data, kind, outputs),
        input_signature=[serving.image_spec(kind, data, batch)],
    )
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with _constants(graph), inlined():
        model, _ = tf2onnx.convert.from_function(
            serve, input_signature=serve.input_signature, opset=OPSET
        )
    found = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(found[name] for name in outputs)
    for value in (*model.graph.input, *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if batch is None:
            first.dim_param = "batch"
        else:
            first.dim_value = batch
    return without_erfc(model)


@contextlib.contextmanager
def _constants(graph):
    """Makes `Normalization` layers compute with arrays, which a graph has as constants.

    Otherwise they compute with their own tensors, which tf2onnx mistakes for inputs.
    """
    found = [x for x in layers_of(graph) if isinstance(x, keras.layers.Normalization)]
    kept = [(layer.mean, layer.variance) for layer in found]
    for layer, values in zip(found, kept, strict=True):
        layer.mean, layer.variance = map(np.array, values)
    try:
        yield
    finally:
        for layer, values in zip(found, kept, strict=True):
            layer.mean, layer.variance = values


def tensors(path) -> dict[str, Tensor]:
    """See `Format.tensors`. In int8, inputs and outputs are still floats."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return {
        value.name: Tensor(
            value.name,
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        )
        for value in (*graph.input, *graph.output)
    }


# Runs a graph in Python; `formats.web` adds a comment about the file.
PYTHON = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("$file")
$pixels
$image
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, {"image": image})))
$results
"""

_USAGE = {
    "python": PYTHON,
    "shell": """\
python3 -c 'import numpy, onnxruntime
session = onnxruntime.InferenceSession("$file")
image = numpy.zeros(($batch, $shape), "$dtype")
print(session.run(["$output"], {"image": image}))'
""",
    "cpp": """\
#include <onnxruntime_cxx_api.h>

#include <array>
#include <iostream>
#include <vector>

int main() {
  Ort::Env environment;
  Ort::Session session(environment, "$file", Ort::SessionOptions());
  std::array<int64_t, 4> shape{$batch, $shape};
  std::vector<$type> pixels($batch * $size);  // Your images, row by row.
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto image = Ort::Value::CreateTensor<$type>(
      memory, pixels.data(), pixels.size(), shape.data(), shape.size());
  const char* inputs[] = {"image"};
  const char* outputs[] = {"$output"};
  auto found = session.Run(Ort::RunOptions(), inputs, &image, 1, outputs, 1);
  const auto count = found[0].GetTensorTypeAndShapeInfo().GetElementCount();
  const auto* values = found[0].GetTensorData<$output_type>();
  for (size_t i = 0; i < count; ++i) std::cout << $number << " ";
}
""",
}

FORMAT = Format(
    "onnx",
    "ONNX",
    {
        "float32": Precision(Gate.exact(1e-4)),
        "int8": Precision(Gate.reduced(), calibrated=True),
    },
    folds=True,
    build=build,
    reload=runtimes.onnx,
    tensors=tensors,
    usage=_USAGE,
)
