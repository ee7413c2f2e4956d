"""Exports a trained net as a .tflite file for LiteRT.

    python export/tflite.py --steps=2
    python export/tflite.py --precision=int8 --input=uint8
    python export/tflite.py --scheme=rk4 --manifestations=euler:2,midpoint:2

writes <output>/<scheme>-<steps>[-<precision>].tflite, replacing the one that is there,
and its model card beside it. Signatures `serving_default`, `euler_2` ..: image ->
logits, probabilities, label; their weights are in the file once. It holds built-in
operations only, takes any batch size, and carries labels and metadata as a zip archive.

What was written is run by LiteRT. In float32 it has to agree with Keras within 1e-4 in
all logits and within 0.02 points of accuracy; with fewer bits it may lose half a point.
Exit codes: 0 written, 1 no agreement, 2 bad input; after 1 and 2 nothing is left.
"""

import functools
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Read when TensorFlow is imported: warnings and notes of its own are not shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export import calibration, options, serving, single_file, tflite_file
from export.description import describe
from export.measure import measure
from export.tflite_conversion import INTEGER_INPUTS, PRECISIONS, convert
from trainers.errors import OptionError

OPTIONS = (
    *options.SHARED,
    options.MANIFESTATIONS,
    (
        "precision",
        options.OneOf(PRECISIONS),
        "float32",
        "One of float32; float16 (weights); dynamic (int8 weights); int8 (everything, "
        "input and outputs too).",
    ),
    calibration.OPTION,
    (
        "threads",
        options.AtLeast(1),
        1,
        "Threads of LiteRT in the comparison and the benchmark, 1 or more. No part of "
        "the file.",
    ),
)


def build(source, kind: str, precision: str, samples, folder) -> pathlib.Path:
    """Writes the .tflite of a trained net to a folder; returns its path.

    Args:
        source: A `Trained`.
        kind: A key of `serving.INPUTS`.
        precision: A key of `PRECISIONS`.
        samples: uint8 calibration images for int8, else None.
        folder: For the file, and for intermediate ones.
    """
    archive = pathlib.Path(folder, "saved_model")
    inputs, traced, input_type = (), kind, None
    if PRECISIONS[precision].integer:
        traced, input_type = INTEGER_INPUTS[kind]
        feed = serving.feeder(source.data, traced)
        inputs = [feed(image[None]) for image in _with_ends(samples)]
    else:
        samples = None
    serving.write_archive(archive, source.graphs, source.data, traced)
    content = convert(archive, list(source.graphs), precision, inputs, input_type)
    path = pathlib.Path(folder, "model.tflite")
    description = describe(source, kind, precision, samples)
    path.write_bytes(tflite_file.finish(content, description))
    if input_type and dtype_of(path) == "uint8":
        tflite_file.require_pixels(path)
    return path


def _with_ends(images):
    """The images, and two that reach the ends of the range of pixels."""
    black = np.zeros_like(images[:1])
    return np.concatenate([images, black, black + 255])


def reload(path, threads: int = 1) -> dict:
    """The signatures of a .tflite, as functions of an array.

    Integer files take and give what `image` and the outputs stand for: floats are
    quantised on the way in and dequantised on the way out.
    """
    interpreter = Interpreter(model_path=str(path), num_threads=threads)

    def run(signature, image):
        runner = interpreter.get_signature_runner(signature)
        image = _quantized(np.asarray(image), runner.get_input_details()["image"])
        details = runner.get_output_details()
        return {
            name: _dequantized(value, details[name])
            for name, value in runner(image=image).items()
        }

    return {
        name: functools.partial(run, name) for name in interpreter.get_signature_list()
    }


def _quantized(values, tensor):
    scale, zero = tensor["quantization"]
    if not scale or values.dtype == tensor["dtype"]:
        return values
    limits = np.iinfo(tensor["dtype"])
    levels = np.round(values / scale) + zero
    return np.clip(levels, limits.min, limits.max).astype(tensor["dtype"])


def _dequantized(values, tensor):
    scale, zero = tensor["quantization"]
    return scale * (values.astype("float32") - zero) if scale else values


def dtype_of(path) -> str:
    """NumPy's name of the type of the image that a .tflite takes."""
    (image,) = Interpreter(model_path=str(path)).get_input_details()[:1]
    return np.dtype(image["dtype"]).name


FORM = single_file.Form(
    "tflite",
    build,
    reload,
    gate=lambda precision: PRECISIONS[precision].gate,
    metadata=tflite_file.read_metadata,
    image_dtype=lambda path, kind: dtype_of(path),
    cost=functools.partial(measure, "tflite"),
)


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the path of the file."""
    if PRECISIONS[values.precision].integer and values.input not in INTEGER_INPUTS:
        raise OptionError(
            f"--input: expected {' or '.join(INTEGER_INPUTS)} with --precision=int8. "
            f"Received {values.input!r}: an int8 net takes integers."
        )
    return single_file.export(values, FORM)


if __name__ == "__main__":
    options.run(main, OPTIONS)
