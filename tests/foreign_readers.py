"""Readers of exports that are not ours, like those of `export.runtimes`.

    outputs = reader(path)[signature](image)    # NumPy arrays by name

A reader imports its runtime when it is called; this file imports NumPy alone, as
tests/runtimes.py runs it in environments that hold little else.
"""

import functools
import pathlib
import tempfile

import numpy as np

SIGNATURE = "serving_default"


def openvino(path) -> dict:
    """Reads a SavedModel, an ONNX graph or the graph 0 of a .tflite with OpenVINO."""
    path = pathlib.Path(path)
    if not path.is_dir():
        return {SIGNATURE: _openvino(path)}
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: _openvino(alone) for name, alone in _one_signature_each(path, folder)
        }


def _openvino(path):
    import openvino

    core = openvino.Core()
    # Without the hint OpenVINO computes in bfloat16 on CPUs that have it.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(core.read_model(path), "CPU", settings)
    names = _names_of([sorted(output.get_names()) for output in model.outputs])

    def run(image):
        found = model([image])
        values = (found[output] for output in model.outputs)
        return _outputs(dict(zip(names, values, strict=True)))

    return run


def _one_signature_each(path, folder):
    """Copies of a SavedModel in which `serving_default` is another signature each.

    OpenVINO reads no other. Graph and variables are those of the artefact; only the
    table of signatures has one line.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = pathlib.Path(path, "saved_model.pb").read_bytes()
    names = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    for name in sorted(names):
        if name.startswith("__"):  # TensorFlow's own.
            continue
        model = saved_model_pb2.SavedModel.FromString(content)
        table = model.meta_graphs[0].signature_def
        chosen = type(table[name]).FromString(table[name].SerializeToString())
        table.clear()
        table[SIGNATURE].CopyFrom(chosen)
        copy = pathlib.Path(folder, name)
        copy.mkdir()
        (copy / "saved_model.pb").write_bytes(model.SerializeToString())
        (copy / "variables").symlink_to(pathlib.Path(path, "variables").absolute())
        yield name, copy


def _names_of(found) -> list[str]:
    """Output names, or places where the file has none (graphs of a .tflite)."""
    known = {"logits", "probabilities", "label"}
    return [
        next((name for name in names if name in known), str(i))
        for i, names in enumerate(found)
    ]


def _outputs(values) -> dict:
    """Tells outputs by what they hold where their names are lost.

    Labels are (B,), probabilities (B, classes) with sums of one.
    """
    if "logits" in values:
        return values
    named = {}
    for value in values.values():
        if value.ndim == 1:
            named["label"] = value
        elif np.allclose(value.sum(-1), 1, atol=1e-3) and (value >= 0).all():
            named["probabilities"] = value
        else:
            named["logits"] = value
    return named


def opencv(path) -> dict:
    """Reads an ONNX graph with OpenCV's dnn, whose images are NHWC here."""
    import cv2

    net = cv2.dnn.readNetFromONNX(str(path))
    names = net.getUnconnectedOutLayersNames()

    def run(image):
        outputs = {}
        for name in names:
            net.setInput(image, "image")
            outputs[name] = np.array(net.forward(name))
        return outputs

    return {SIGNATURE: run}


def compiled_model(path) -> dict:
    """Reads a .tflite with LiteRT's CompiledModel, which replaces its Interpreter."""
    from ai_edge_litert.compiled_model import CompiledModel

    model = CompiledModel.from_file(str(path))

    def run(signature, image):
        (taken,) = model.get_input_tensor_details(signature).values()
        if list(taken["shape"]) != list(image.shape):
            model.resize_input_tensor_by_name(signature, "image", image.shape)
        image_buffer = model.create_input_buffer_by_name(signature, "image")
        image_buffer.write(np.ascontiguousarray(image))
        details = model.get_output_tensor_details(signature)
        buffers = {
            name: model.create_output_buffer_by_name(signature, name)
            for name in details
        }
        model.run_by_name(signature, {"image": image_buffer}, buffers)
        return {
            name: _read(buffers[name], details[name], len(image)) for name in buffers
        }

    return {name: functools.partial(run, name) for name in model.get_signature_list()}


def _read(buffer, tensor, batch):
    shape = (batch, *tensor["shape"][1:])
    count = int(np.prod(shape))
    return buffer.read(count, np.dtype(tensor["dtype"])).reshape(shape)


def tflite_runtime(path) -> dict:
    """Reads a .tflite with tflite-runtime, the package before LiteRT's."""
    from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))

    def function(signature):
        runner = interpreter.get_signature_runner(signature)
        takes, gives = runner.get_input_details(), runner.get_output_details()

        def run(image):
            image = _stored(image, takes["image"]["quantization"], takes["image"])
            return {
                name: _real(value, gives[name]["quantization"])
                for name, value in runner(image=image).items()
            }

        return run

    return {name: function(name) for name in interpreter.get_signature_list()}


def _stored(values, quantization, tensor):
    """Integers for real numbers, where a tensor holds such and they are not yet."""
    scale, zero = quantization
    if not scale or values.dtype == tensor["dtype"]:
        return values
    limits = np.iinfo(tensor["dtype"])
    levels = np.clip(np.round(values / scale) + zero, limits.min, limits.max)
    return levels.astype(tensor["dtype"])


def _real(values, quantization):
    scale, zero = quantization
    return scale * (values.astype("float32") - zero) if scale else values


def mediapipe(path) -> dict:
    """Reads a .tflite with MediaPipe Tasks: the probabilities of RGB images."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    classifier = vision.ImageClassifier.create_from_options(
        vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(path)))
    )

    def probabilities(pixels):
        image = mediapipe.Image(
            mediapipe.ImageFormat.SRGB, np.ascontiguousarray(pixels)
        )
        (found,) = classifier.classify(image).classifications
        scores = {category.index: category.score for category in found.categories}
        return [scores[i] for i in range(len(scores))]

    def run(image):
        return {"probabilities": np.array([probabilities(one) for one in image])}

    return {SIGNATURE: run}


def own(form):
    """Our reader of a format, which needs no other module of ours."""

    def read(path):
        from export import runtimes

        return getattr(runtimes, form)(path)

    return read


READERS = {
    "openvino": openvino,
    "opencv": opencv,
    "compiled_model": compiled_model,
    "tflite_runtime": tflite_runtime,
    "mediapipe": mediapipe,
    **{form: own(form) for form in ("saved_model", "tflite", "onnx")},
}


def main(name, path, images, batches, result):
    """Runs every signature of an artefact and saves what it gives.

    Args:
        name: A key of `READERS`.
        path: Of the artefact.
        images: A .npy of what `image` takes.
        batches: Numbers with commas between.
        result: The .npz to write, arrays by `<signature>/<batch>/<output>`.
    """
    images, found = np.load(images), {}
    for signature, call in READERS[name](path).items():
        for batch in map(int, batches.split(",")):
            for output, values in call(images[:batch]).items():
                found[f"{signature}/{batch}/{output}"] = values
    np.savez(result, **found)


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    main(*sys.argv[1:])
