"""Exports a trained net as a .tflite file for LiteRT, float32.

    python export/tflite.py --steps=2
    python export/tflite.py --run=runs/<run> --scheme=euler --threads=4

writes <output>/<scheme>-<steps>.tflite, replacing the one that is there, with the
signature `serving_default`: image -> logits, probabilities, label. It holds built-in
operations only and takes any batch size.

What was written is run by LiteRT and has to agree with Keras within 1e-4 in all logits.
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

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export import options, parity, serving, staging, trained

GATE = parity.Gate.exact(1e-4)

OPTIONS = (
    *options.SHARED,
    options.MANIFESTATIONS,
    (
        "threads",
        options.AtLeast(1),
        1,
        "Threads of LiteRT in the comparison, 1 or more. No part of the file.",
    ),
)


def convert(saved_model, signatures) -> bytes:
    """A .tflite of these signatures of a SavedModel, without custom operations."""
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=list(signatures)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def reload(path, threads: int = 1) -> dict:
    """The signatures of a .tflite, as functions of an array."""
    interpreter = Interpreter(model_path=str(path), num_threads=threads)

    def run(signature, image):
        return interpreter.get_signature_runner(signature)(image=image)

    return {
        name: functools.partial(run, name) for name in interpreter.get_signature_list()
    }


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the path of the file."""
    source, data = trained.load(values)
    images, labels = trained.first_test_images(data, values.accuracy_images)
    target = source.output / f"{source.name}.tflite"
    with staging.workspace(source.output) as temporary:
        archive, file = temporary / "saved_model", temporary / "model.tflite"
        serving.write_archive(archive, source.graphs, source.data, values.input)
        file.write_bytes(convert(archive, source.graphs))
        parity.accept(
            source.candidates(reload(file, values.threads)),
            serving.feeder(source.data, values.input),
            images,
            labels,
            values.parity_images,
            GATE,
            staging.size_on_disk(file),
        )
        os.replace(file, target)
    print(f"Wrote {target}")
    return target


if __name__ == "__main__":
    options.run(main, OPTIONS)
