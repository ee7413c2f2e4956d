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

import dataclasses
import functools
import os
import pathlib
import sys
import warnings

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Read when TensorFlow is imported: warnings and notes of its own are not shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export import (
    calibration,
    model_card,
    options,
    parity,
    serving,
    staging,
    tflite_file,
    trained,
)
from export.description import describe
from export.measure import measure
from trainers.errors import OptionError


@dataclasses.dataclass(frozen=True)
class Precision:
    """How weights and activations are stored.

    Attributes:
        gate: What an export has to keep to.
        optimizations: Of the converter.
        types: Of the weights, where they are not the converter's choice.
        integer: All arithmetic in int8, in ranges learned on a calibration set; weights
            per channel.
    """

    gate: parity.Gate
    optimizations: tuple = ()
    types: tuple = ()
    integer: bool = False


_SMALLER = (tf.lite.Optimize.DEFAULT,)

PRECISIONS: dict[str, Precision] = {
    "float32": Precision(parity.Gate.exact(1e-4)),
    "float16": Precision(parity.Gate.reduced(), _SMALLER, (tf.float16,)),
    # Weights in int8, activations in ranges found at run time.
    "dynamic": Precision(parity.Gate.reduced(), _SMALLER),
    "int8": Precision(parity.Gate.reduced(), _SMALLER, integer=True),
}

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


def build(source, kind: str, precision: str, samples, folder) -> bytes:
    """The .tflite of a trained net.

    Args:
        source: A `Trained`.
        kind: A key of `serving.INPUTS`.
        precision: A key of `PRECISIONS`.
        samples: uint8 calibration images for int8, else None.
        folder: For intermediate files.
    """
    chosen = PRECISIONS[precision]
    # Pixels that are integers already are quantised by the converter, not by a cast.
    traced = "float" if chosen.integer and kind == "uint8" else kind
    archive = pathlib.Path(folder, "saved_model")
    serving.write_archive(archive, source.graphs, source.data, traced)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(archive), signature_keys=list(source.graphs)
    )
    converter.optimizations = list(chosen.optimizations)
    converter.target_spec.supported_types = list(chosen.types)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        if chosen.integer
        else tf.lite.OpsSet.TFLITE_BUILTINS
    ]
    if chosen.integer:
        feed = serving.feeder(source.data, traced)
        converter.representative_dataset = _representatives(
            [feed(image[None]) for image in _with_ends(samples)], list(source.graphs)
        )
        converter.inference_input_type = tf.uint8 if kind == "uint8" else tf.int8
        converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        # TensorFlow calibrates with an interpreter that it has deprecated itself.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        content = tflite_file.without_names(converter.convert())
    return tflite_file.with_metadata(
        content, describe(source, kind, precision, samples if chosen.integer else None)
    )


def _with_ends(images):
    """The images, and two that reach the ends of the range of pixels."""
    black = np.zeros_like(images[:1])
    return np.concatenate([images, black, black + 255])


def _representatives(inputs, signatures):
    """What the converter asks for: inputs one by one, named where there are several."""

    def generate():
        for image in inputs:
            for signature in signatures:
                one = {"image": image}
                yield one if len(signatures) == 1 else (signature, one)

    return generate


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


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the path of the file."""
    chosen = PRECISIONS[values.precision]
    if chosen.integer and values.input == "float":
        raise OptionError(
            "--input: expected normalized or uint8 with --precision=int8. Received "
            "'float': an int8 net takes integers."
        )
    source, data = trained.load(values)
    samples = None
    if chosen.integer:
        samples = calibration.calibration_images(data, values.calibration_images)
    images, labels = trained.first_test_images(data, values.accuracy_images)
    feed = serving.feeder(source.data, values.input)
    suffix = "" if values.precision == "float32" else f"-{values.precision}"
    target = source.output / f"{source.name}{suffix}.tflite"
    with staging.workspace(source.output) as temporary:
        file = temporary / "model.tflite"
        file.write_bytes(
            build(source, values.input, values.precision, samples, temporary)
        )
        rows = parity.accept(
            source.candidates(
                reload(file, values.threads),
                lambda signature: measure(
                    "tflite", file, signature, feed(images[:1]), values.threads
                ),
            ),
            feed,
            images,
            labels,
            values.parity_images,
            chosen.gate,
            staging.size_on_disk(file),
        )
        staging.publish_file(
            file,
            target,
            model_card.card(
                "tflite",
                target.name,
                tflite_file.read_metadata(file),
                rows,
                source.run,
                dtype=dtype_of(file),
                license=values.license,
            ),
        )
    print(f"Wrote {target}")
    return target


def dtype_of(path) -> str:
    """NumPy's name of the type of the image that a .tflite takes."""
    (image,) = Interpreter(model_path=str(path)).get_input_details()[:1]
    return np.dtype(image["dtype"]).name


if __name__ == "__main__":
    options.run(main, OPTIONS)
