"""ONNX graphs, opset 18, for ONNX Runtime."""

import json
import logging
import pathlib

import onnx
import tensorflow as tf
import tf2onnx

from export import runtimes, serving, staging
from export.formats.record import Format, Precision, Recipe, declared_dtype
from export.onnx_file import in_fixed_order, without_erfc
from export.onnx_int8 import quantize
from export.parity import Gate
from export.source import Source
from trainers.errors import OptionError

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
    """The ONNX graph of one layer of a source, quantised, ordered and checked.

    Args:
        graph: One of `source.graphs`.
        source, recipe, description, folder: See `Format.build`.

    Raises:
        OptionError: the layer has operations that ONNX has not.
    """
    model = convert(graph, source.data, recipe.kind)
    if FORMAT.precisions[recipe.precision].calibrated:
        feed = serving.feeder(source.data, recipe.kind)
        inputs = [feed(image[None]) for image in recipe.samples]
        model = quantize(model, inputs, folder)
    model = in_fixed_order(model)
    properties = {key: json.dumps(value) for key, value in description.items()}
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"--run, --model: expected layers that ONNX opset {OPSET} knows. Received: "
            f"{reason}: use other layers, or another format."
        ) from error
    return model


def convert(graph, data: dict, kind: str) -> onnx.ModelProto:
    """The ONNX graph of a layer from images to logits."""
    serve = tf.function(
        serving.serving_function(graph, data, kind),
        input_signature=[serving.image_spec(kind, data)],
    )
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(
        serve, input_signature=serve.input_signature, opset=OPSET
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return without_erfc(model)


_USAGE = {
    "python": """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("$file")
image = np.zeros((1, $shape), "$dtype")
logits, probabilities, label = session.run(
    ["logits", "probabilities", "label"], {"image": image}
)
""",
    "shell": """\
onnxruntime_perf_test -e cpu -f batch:1 -I $file
""",
    "cpp": """\
#include <onnxruntime_cxx_api.h>

Ort::Env environment;
Ort::Session session(environment, "$file", Ort::SessionOptions());
const char* inputs[] = {"image"};
const char* outputs[] = {"logits"};
// image: an Ort::Value of $dtype and shape (batch, $shape)
auto logits = session.Run(Ort::RunOptions(), inputs, &image, 1, outputs, 1);
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
    image_dtype=declared_dtype,
    usage=_USAGE,
)
