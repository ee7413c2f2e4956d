"""TensorFlow SavedModels, for TF Serving and the like."""

import json
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cnet_tf.escaping import lines
from export import runtimes, serving, staging, tf_serving
from export.formats.record import Format, Precision, Recipe, Tensor
from export.gate import Gate
from export.source import Source


def build(source: Source, recipe: Recipe, description: dict, folder) -> pathlib.Path:
    """Writes a SavedModel with its extra assets; see `Format.build`.

    A SavedModel has no place for the description, which is in the card beside it.
    """
    path = pathlib.Path(folder, "model")
    serving.write_archive(path, source.graphs, source.data, recipe.kind, recipe.outputs)
    # SavedModel's own place for files that the graph does not read.
    extra = path / "assets.extra"
    names = lines(source.data["class_names"])
    normalization = {key: list(source.data[key]) for key in ("mean", "std")}
    images = recipe.samples[: max(tf_serving.WARM_UP_SIZES)]
    with staging.writing(tf.errors.OpError):
        extra.mkdir()
        (extra / "class_names.txt").write_text(names, encoding="utf-8")
        (extra / "normalization.json").write_text(json.dumps(normalization) + "\n")
        tf_serving.write_warmup(
            extra / "tf_serving_warmup_requests",
            recipe.model,
            source.nets,
            serving.feeder(source.data, recipe.kind)(images),
        )
    return path


def tensors(path) -> dict[str, Tensor]:
    """See `Format.tensors`."""
    content = pathlib.Path(path, "saved_model.pb").read_bytes()
    graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    signature = graphs[0].signature_def[runtimes.SIGNATURE]
    return {
        name: Tensor(name, tf.as_dtype(info.dtype).as_numpy_dtype.__name__)
        for ends in (signature.inputs, signature.outputs)
        for name, info in ends.items()
    }


_USAGE = {
    "python": """\
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(".")  # The folder of this card.
$pixels
$image
outputs = model.signatures["$signature"](image=tf.constant(image))
$results
""",
    "python grpc": """\
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

$pixels
$image
request = predict_pb2.PredictRequest()
request.model_spec.name = "$model"
request.model_spec.signature_name = "$signature"
request.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
with grpc.insecure_channel("localhost:8500") as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    found = stub.Predict(request, timeout=10).outputs
outputs = {name: tf.make_ndarray(value) for name, value in found.items()}
$results
""",
    "shell": """\
# Sends one image to TF Serving over REST.
python3 -c 'import $modules; print(json.dumps({
    "signature_name": "$signature", "instances": [{"image": $instance}]}))' |
  curl -d @- http://localhost:8501/v1/models/$model:predict
""",
    "cpp": """\
#include <iostream>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"

int main() {
  tensorflow::SavedModelBundle model;  // From the folder of this card.
  TF_CHECK_OK(tensorflow::LoadSavedModel({}, {}, ".", {"serve"}, &model));
  const auto& signature = model.GetSignatures().at("$signature");
  const auto& input = signature.inputs().at("image");
  $tensor
  std::vector<tensorflow::Tensor> outputs;
  TF_CHECK_OK(model.GetSession()->Run(
      {{input.name(), image}}, {signature.outputs().at("$output").name()}, {},
      &outputs));
  std::cout << outputs[0].DebugString() << std::endl;
}
""",
}

FORMAT = Format(
    "saved_model",
    "TensorFlow SavedModel",
    {"float32": Precision(Gate.exact(1e-5), inputs=tuple(serving.INPUTS))},
    # A gate of 1e-5 leaves no room for more rounding, and servers do their own folding.
    folds=False,
    build=build,
    reload=runtimes.saved_model,
    tensors=tensors,
    usage=_USAGE,
)
