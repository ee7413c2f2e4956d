"""Exports a trained net as a .tflite file for LiteRT, float32.

    python export/tflite.py --steps=2
    python export/tflite.py --run=runs/<run> --scheme=euler --threads=4

writes <output>/<scheme>-<steps>.tflite, replacing the one that is there, with the
signature `serving_default`: image -> logits, probabilities, label. It holds built-in
operations only and takes any batch size.

What was written is run by LiteRT and has to agree with Keras within 1e-4 in all logits.
Exit codes: 0 written, 1 no agreement, 2 bad input; after 1 and 2 nothing is left.
"""

import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Read when TensorFlow is imported: warnings and notes of its own are not shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export import options, parity, serving, staging

GATE = 1e-4

OPTIONS = (
    *options.SHARED,
    (
        "threads",
        options.AtLeast(1),
        1,
        "Threads of LiteRT in the comparison, 1 or more. No part of the file.",
    ),
)


def convert(saved_model) -> bytes:
    """A .tflite of the serving signature of a SavedModel, without custom operations."""
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=[serving.SIGNATURE]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def reload(path, threads: int = 1):
    """The serving signature of a .tflite, as a function of an array."""
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    signature = interpreter.get_signature_runner(serving.SIGNATURE)
    return lambda image: signature(image=image)


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the path of the file."""
    source = options.load_manifestation(values)
    images, labels = options.load_test_images(source, values)
    target = source.output / f"{source.name}.tflite"
    with staging.workspace(source.output) as temporary:
        archive, file = temporary / "saved_model", temporary / "model.tflite"
        serving.write_archive(archive, source.net, source.data, values.input)
        file.write_bytes(convert(archive))
        parity.accept(
            serving.keras_logits(source.net, source.data),
            reload(file, values.threads),
            serving.feeder(source.data, values.input),
            images,
            labels,
            GATE,
            source.name,
            staging.size_on_disk(file),
        )
        os.replace(file, target)
    print(f"Wrote {target}")
    return target


if __name__ == "__main__":
    options.run(main, OPTIONS)
