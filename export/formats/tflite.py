"""TFLite files, for LiteRT."""

import pathlib

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export import runtimes, serving, staging, tflite_file
from export.formats.record import Format, Precision, Recipe
from export.source import Source
from export.tflite_conversion import INTEGER_INPUTS, PRECISIONS, convert


def build(source: Source, recipe: Recipe, description: dict, folder) -> pathlib.Path:
    """Writes a .tflite with all signatures of the source; see `Format.build`."""
    archive = pathlib.Path(folder, "saved_model")
    inputs, traced, input_type = (), recipe.kind, None
    if PRECISIONS[recipe.precision].integer:
        traced, input_type = INTEGER_INPUTS[recipe.kind]
        feed = serving.feeder(source.data, traced)
        inputs = [feed(image[None]) for image in _with_ends(recipe.samples)]
    serving.write_archive(archive, source.graphs, source.data, traced)
    signatures = list(source.graphs)
    content = convert(archive, signatures, recipe.precision, inputs, input_type)
    content = tflite_file.finish(content, description)
    path = pathlib.Path(folder, "model.tflite")
    with staging.writing():
        path.write_bytes(content)
    if input_type and image_dtype(path) == "uint8":
        tflite_file.require_pixels(path)
    return path


def _with_ends(images):
    """The images, and two that reach the ends of the range of pixels."""
    black = np.zeros_like(images[:1])
    return np.concatenate([images, black, black + 255])


def image_dtype(path, kind: str | None = None) -> str:
    """NumPy's name of the type of the image that a .tflite takes."""
    (image,) = Interpreter(model_path=str(path)).get_input_details()[:1]
    return np.dtype(image["dtype"]).name


_USAGE = {
    "python": """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="$file")
image = np.zeros((1, $shape), "$dtype")
outputs = interpreter.get_signature_runner("$signature")(image=image)
print(outputs["label"], outputs["probabilities"])
""",
    "shell": """\
litert-benchmark --model=$file --signature=$signature
""",
    "cpp": """\
#include "tflite/interpreter_builder.h"
#include "tflite/kernels/register.h"
#include "tflite/model_builder.h"

auto model = tflite::FlatBufferModel::BuildFromFile("$file");
tflite::ops::builtin::BuiltinOpResolver resolver;
std::unique_ptr<tflite::Interpreter> interpreter;
tflite::InterpreterBuilder(*model, resolver)(&interpreter);
auto* signature = interpreter->GetSignatureRunner("$signature");
signature->ResizeInputTensor("image", {1, $shape});
signature->AllocateTensors();
// Fill signature->input_tensor("image")->data, then:
signature->Invoke();
const TfLiteTensor* logits = signature->output_tensor("logits");
""",
}

FORMAT = Format(
    "tflite",
    "TFLite (LiteRT)",
    {
        name: Precision(found.gate, True, tuple(INTEGER_INPUTS))
        if found.integer
        else Precision(found.gate)
        for name, found in PRECISIONS.items()
    },
    folds=True,
    build=build,
    reload=runtimes.tflite,
    image_dtype=image_dtype,
    usage=_USAGE,
)
