"""TFLite files, for LiteRT."""

import pathlib

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export import runtimes, serving, staging, tflite_file
from export.calibration import whole_batches
from export.formats.record import Format, Precision, Recipe, Tensor
from export.source import Source
from export.tflite_conversion import INTEGER_INPUTS, PRECISIONS, convert


def build(source: Source, recipe: Recipe, description: dict, folder) -> pathlib.Path:
    """Writes a .tflite with all signatures of the source; see `Format.build`."""
    archive = pathlib.Path(folder, "saved_model")
    inputs, traced, types = (), recipe.kind, ()
    if PRECISIONS[recipe.precision].integer:
        traced, taken = INTEGER_INPUTS[recipe.kind]
        types = taken, tf.float32 if recipe.float_outputs else tf.int8
        feed = serving.feeder(source.data, traced)
        batches = whole_batches(_with_ends(recipe.samples), recipe.batch)
        inputs = [feed(batch) for batch in batches]
    serving.write_archive(
        archive, source.graphs, source.data, traced, recipe.outputs, recipe.batch
    )
    signatures = list(source.graphs)
    content = convert(archive, signatures, recipe.precision, inputs, *types)
    content = tflite_file.finish(content, description)
    path = pathlib.Path(folder, "model.tflite")
    with staging.writing():
        path.write_bytes(content)
    if tf.uint8 in types:
        tflite_file.require_pixels(path)
    return path


def _with_ends(images):
    """Appends a black and a white image, the ends of the range of pixels."""
    black = np.zeros_like(images[:1])
    return np.concatenate([images, black, black + 255])


def tensors(path) -> dict[str, Tensor]:
    """See `Format.tensors`."""
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner(runtimes.SIGNATURE)
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {
        name: Tensor(name, np.dtype(found["dtype"]).name, float(scale), int(zero))
        for name, found in details.items()
        for scale, zero in [found["quantization"]]
    }


def remark(path, precision: str) -> str:
    """See `Format.remark`: what stays in floats in a file that should have none."""
    if not PRECISIONS[precision].integer:
        return ""
    found = tflite_file.float_operators(path)
    if not found:
        return ""
    return (
        f"{len(found)} operators inside compute in float32 all the same, as the "
        f"converter has no integers for them: {', '.join(sorted({*found}))}. Runtimes "
        "that have integers only cannot run this file."
    )


_USAGE = {
    "python": """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="$file")
$pixels
$image
outputs = interpreter.get_signature_runner("$signature")(image=image)
$results
""",
    "shell": """\
litert-benchmark --model=$file --signature=$signature
""",
    "cpp": """\
#include <iostream>
#include <memory>

#include "tflite/interpreter_builder.h"
#include "tflite/kernels/register.h"
#include "tflite/model_builder.h"

int main() {
  auto model = tflite::FlatBufferModel::BuildFromFile("$file");
  tflite::ops::builtin::BuiltinOpResolver resolver;
  std::unique_ptr<tflite::Interpreter> interpreter;
  tflite::InterpreterBuilder(*model, resolver)(&interpreter);
  auto* signature = interpreter->GetSignatureRunner("$signature");
  signature->ResizeInputTensor("image", {$batch, $shape});
  signature->AllocateTensors();
  auto* image = reinterpret_cast<$type*>(signature->input_tensor("image")->data.raw);
  // Fill image[0] .. here, row by row.
  signature->Invoke();
  const TfLiteTensor* output = signature->output_tensor("$output");
  const auto* values = reinterpret_cast<const $output_type*>(output->data.raw);
  for (size_t i = 0; i < output->bytes / sizeof(*values); ++i) {
    std::cout << $number << " ";
  }
}
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
    tensors=tensors,
    usage=_USAGE,
    remark=remark,
)
