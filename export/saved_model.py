"""Exports a trained net as a TensorFlow SavedModel, for TF Serving and the like.

    python export/saved_model.py --steps=2
    python export/saved_model.py --run=runs/<run> --scheme=euler --input=uint8

writes <output>/saved_model/<version>/, version one above those that are there, with
the signature `serving_default`: image -> logits, probabilities, label. The names of the
classes and the normalisation are in its assets.extra/.

What was written is loaded again and has to agree with Keras within 1e-5 in all logits.
Exit codes: 0 written, 1 no agreement, 2 bad input; after 1 and 2 nothing is left.
"""

import json
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Read when TensorFlow is imported: warnings and notes of its own are not shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from export import options, parity, serving, staging

GATE = 1e-5


def write(directory, source: options.Manifestation, kind: str) -> None:
    """Writes the SavedModel of a manifestation with its extra assets."""
    serving.write_archive(directory, source.net, source.data, kind)
    # SavedModel's own place for files that the graph does not read.
    extra = pathlib.Path(directory, "assets.extra")
    extra.mkdir()
    names = "".join(f"{name}\n" for name in source.data["class_names"])
    (extra / "class_names.txt").write_text(names, encoding="utf-8")
    normalization = {key: list(source.data[key]) for key in ("mean", "std")}
    (extra / "normalization.json").write_text(json.dumps(normalization) + "\n")


def reload(directory):
    """The serving signature of a SavedModel, as a function of an array."""
    model = tf.saved_model.load(str(directory))
    signature = model.signatures[serving.SIGNATURE]

    def call(image):
        # `model` is named here to keep it alive: the signature does not own the
        # variables.
        _ = model
        return {k: v.numpy() for k, v in signature(image=tf.constant(image)).items()}

    return call


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the folder of the new version."""
    source = options.load_manifestation(values)
    images, labels = options.load_test_images(source, values)
    parent = source.output / "saved_model"
    with staging.workspace(parent) as temporary:
        model = temporary / "model"
        write(model, source, values.input)
        parity.accept(
            serving.keras_logits(source.net, source.data),
            reload(model),
            serving.feeder(source.data, values.input),
            images,
            labels,
            GATE,
            source.name,
            staging.size_on_disk(model),
        )
        version = staging.publish_version(model, parent)
    print(f"Wrote {version}")
    return version


if __name__ == "__main__":
    options.run(main)
