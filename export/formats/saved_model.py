"""TensorFlow SavedModels, for TF Serving and the like."""

import json
import pathlib

import tensorflow as tf

from cnet_tf.escaping import lines
from export import runtimes, serving, staging, tf_serving
from export.formats.record import Format, Precision, Recipe, declared_dtype
from export.parity import Gate
from export.source import Source


def build(source: Source, recipe: Recipe, description: dict, folder) -> pathlib.Path:
    """Writes a SavedModel with its extra assets; see `Format.build`.

    The description has no place in it: it is in the model card beside the model.
    """
    path = pathlib.Path(folder, "model")
    serving.write_archive(path, source.graphs, source.data, recipe.kind)
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


_USAGE = {
    "python": """\
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(".")  # The folder of this card.
image = np.zeros((1, $shape), "$dtype")
outputs = model.signatures["$signature"](image=tf.constant(image))
print(outputs["label"], outputs["probabilities"])
""",
    "shell": """\
python3 -c 'import json; print(json.dumps({
    "signature_name": "$signature", "instances": [{"image": $zeros}]}))' |
  curl -d @- http://localhost:8501/v1/models/$model:predict
""",
    "cpp": """\
#include "tensorflow/cc/saved_model/loader.h"

tensorflow::SavedModelBundle model;
TF_CHECK_OK(tensorflow::LoadSavedModel({}, {}, ".", {"serve"}, &model));
const auto& signature = model.GetSignatures().at("$signature");
tensorflow::Tensor image(signature.inputs().at("image").dtype(), {1, $shape});
std::vector<tensorflow::Tensor> outputs;
TF_CHECK_OK(model.GetSession()->Run(
    {{signature.inputs().at("image").name(), image}},
    {signature.outputs().at("logits").name()}, {}, &outputs));
""",
}

FORMAT = Format(
    "saved_model",
    "TensorFlow SavedModel",
    {"float32": Precision(Gate.exact(1e-5))},
    # A gate of 1e-5 leaves no room for more rounding, and servers fold by themselves.
    folds=False,
    build=build,
    reload=runtimes.saved_model,
    image_dtype=declared_dtype,
    usage=_USAGE,
)
