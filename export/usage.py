"""How to call an artefact from Python, a shell and C++, as text for its model card."""

import string

# By format, then language. `$file`, `$model`, `$signature`, `$array`, `$dtype`,
# `$shape` and `$zeros` are filled in.
USAGE: dict[str, dict[str, str]] = {
    "saved_model": {
        "python": """\
import numpy as np
import tensorflow as tf

model = tf.saved_model.load("$file")
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
TF_CHECK_OK(tensorflow::LoadSavedModel({}, {}, "$file", {"serve"}, &model));
const auto& signature = model.GetSignatures().at("$signature");
tensorflow::Tensor image(signature.inputs().at("image").dtype(), {1, $shape});
std::vector<tensorflow::Tensor> outputs;
TF_CHECK_OK(model.GetSession()->Run(
    {{signature.inputs().at("image").name(), image}},
    {signature.outputs().at("logits").name()}, {}, &outputs));
""",
    },
    "tflite": {
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
    },
    "onnx": {
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
    },
}


def usage(form: str, **values) -> dict[str, str]:
    """The snippets of a format by language.

    Args:
        form: A key of `USAGE`.
        **values: For each name with a `$` in it.

    Raises:
        KeyError: unknown format, or a value is missing.
    """
    return {
        language: string.Template(text).substitute(values)
        for language, text in USAGE[form].items()
    }
