"""Exports a trained net as a TensorFlow SavedModel, for TF Serving and the like.

    python export/saved_model.py --steps=2
    python export/saved_model.py --manifestations=euler:2,midpoint:4 --input=uint8

writes <output>/serving/<model>/<version>/, version one above those that are there, with
the signatures `serving_default`, `euler_2` ..: image -> logits, probabilities, label.
They share one set of variables. Names of the classes, normalisation and warm-up
requests are in its assets.extra/, its model card is model_card.md, and models.config
and batching.config for the server are beside the models.

What was written is loaded again and has to agree with Keras within 1e-5 in all logits
and within 0.02 points of accuracy. A version appears complete or not at all, and none
is ever overwritten. The same export in a new process writes the same bytes. Exit codes:
0 written, 1 no agreement, 2 bad input; after 1 and 2 nothing is left.
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
from absl import flags

from export import (
    model_card,
    options,
    parity,
    serving,
    staging,
    tf_serving,
    trained,
)
from export.description import describe

GATE = parity.Gate.exact(1e-5)


# TF Serving reads versions as int64, and passes over folders with a larger number.
LAST_VERSION = 2**63 - 1


class Version(options.AtLeast):
    """Parses a version that TF Serving can serve."""

    def parse(self, argument):
        value = super().parse(argument)
        if value > LAST_VERSION:
            raise ValueError(
                f"expected at most {LAST_VERSION}. Received {argument!r}, which TF "
                "Serving would never serve"
            )
        return value


class ModelName(flags.ArgumentParser):
    """Parses a name that a folder, a URL and models.config can have."""

    def parse(self, argument):
        plain = argument.replace("_", "").replace("-", "").isalnum()
        if not (argument.isascii() and plain) or argument.isdecimal():
            raise ValueError(
                "expected letters, digits, _ and -, but no number. "
                f"Received {argument!r}"
            )
        return argument


OPTIONS = (
    *options.SHARED,
    options.MANIFESTATIONS,
    ("model_name", ModelName(), "cnet", "Name of the model in TF Serving."),
    (
        "version",
        Version(1),
        None,
        "Version, 1 or more. Default: one above those that are there.",
    ),
)


def build(source, kind: str, model: str, images, folder) -> pathlib.Path:
    """Writes the SavedModel of a trained net, with its extra assets, to a folder.

    Args:
        source: A `Trained`.
        kind: A key of `serving.INPUTS`.
        model: Its name in TF Serving.
        images: Pixels, uint8 (B, H, W, C), to warm up with.
        folder: For the folder of the SavedModel, which is returned.
    """
    path = pathlib.Path(folder, "model")
    serving.write_archive(path, source.graphs, source.data, kind)
    # SavedModel's own place for files that the graph does not read.
    extra = path / "assets.extra"
    extra.mkdir()
    names = "".join(f"{name}\n" for name in source.data["class_names"])
    (extra / "class_names.txt").write_text(names, encoding="utf-8")
    normalization = {key: list(source.data[key]) for key in ("mean", "std")}
    (extra / "normalization.json").write_text(json.dumps(normalization) + "\n")
    tf_serving.write_warmup(
        extra / "tf_serving_warmup_requests",
        model,
        source.nets,
        serving.feeder(source.data, kind)(images),
    )
    return path


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
    output = trained.output_folder(values) / "serving"
    staging.refuse_version(output / values.model_name, values.version)
    # Not folded: a gate of 1e-5 leaves no room for more rounding, and servers fold too.
    source, data = trained.load(values, fold_by_default=False)
    images, labels = trained.first_test_images(data, values.accuracy_images)
    with staging.workspace(output) as temporary:
        warmup = images[: max(tf_serving.WARM_UP_SIZES)]
        model = build(source, values.input, values.model_name, warmup, temporary)
        rows = parity.accept(
            source.candidates(reload(model)),
            serving.feeder(source.data, values.input),
            images,
            labels,
            values.parity_images,
            GATE,
            staging.size_on_disk(model),
        )
        card = model_card.card(
            "saved_model",
            values.model_name,
            describe(source, values.input),
            rows,
            source.run,
            dtype=serving.INPUTS[values.input].dtype.name,
            license=values.license,
            model=values.model_name,
        )
        (model / "model_card.md").write_text(card, encoding="utf-8")
        parent = output / values.model_name
        configs = tf_serving.write_configs(temporary, output, values.model_name)
        version = staging.publish_version(model, parent, values.version)
        for config in configs:
            os.replace(config, output / config.name)
    print(f"Wrote {version}\nServe it: {tf_serving.docker_command(output)}")
    return version


if __name__ == "__main__":
    options.run(main, OPTIONS)
