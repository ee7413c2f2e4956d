"""Exports a trained net as a TensorFlow SavedModel, for TF Serving and the like.

    python export/saved_model.py --steps=2
    python export/saved_model.py --run=runs/<run> --scheme=euler --input=uint8

writes <output>/saved_model/<version>/, version one above those that are there, with
the signature `serving_default`: image -> logits, probabilities, label. The names of the
classes and the normalisation are in its assets.extra/.

What was written is loaded again and has to agree with Keras within 1e-5 in all logits.
Exit codes: 0 written, 1 no agreement, 2 bad input; after 1 and 2 nothing is left.
"""

import functools
import json
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Read when TensorFlow is imported: warnings and notes of its own are not shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from export import options, parity, serving, staging, trained

GATE = parity.Gate.exact(1e-5)

OPTIONS = (*options.SHARED, options.MANIFESTATIONS)


def write(directory, source: trained.Trained, kind: str) -> None:
    """Writes the SavedModel of a trained net with its extra assets."""
    serving.write_archive(directory, source.graphs, source.data, kind)
    # SavedModel's own place for files that the graph does not read.
    extra = pathlib.Path(directory, "assets.extra")
    extra.mkdir()
    names = "".join(f"{name}\n" for name in source.data["class_names"])
    (extra / "class_names.txt").write_text(names, encoding="utf-8")
    normalization = {key: list(source.data[key]) for key in ("mean", "std")}
    (extra / "normalization.json").write_text(json.dumps(normalization) + "\n")


def reload(directory) -> dict:
    """The signatures of a SavedModel, as functions of an array."""
    model = tf.saved_model.load(str(directory))

    def run(signature, image):
        # `model` is kept alive by this: a signature does not own its variables.
        outputs = model.signatures[signature](image=tf.constant(image))
        return {name: value.numpy() for name, value in outputs.items()}

    return {name: functools.partial(run, name) for name in model.signatures}


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the folder of the new version."""
    # Not folded: a gate of 1e-5 leaves no room for more rounding, and servers fold too.
    source, data = trained.load(values, fold_by_default=False)
    images, labels = trained.first_test_images(data, values.accuracy_images)
    parent = source.output / "saved_model"
    with staging.workspace(parent) as temporary:
        model = temporary / "model"
        write(model, source, values.input)
        parity.accept(
            source.candidates(reload(model)),
            serving.feeder(source.data, values.input),
            images,
            labels,
            values.parity_images,
            GATE,
            staging.size_on_disk(model),
        )
        version = staging.publish_version(model, parent)
    print(f"Wrote {version}")
    return version


if __name__ == "__main__":
    options.run(main, OPTIONS)
