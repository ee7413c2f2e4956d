"""Exports a trained net as a TensorFlow SavedModel, for TF Serving and the like.

    python export/saved_model.py --steps=2
    python export/saved_model.py --manifestations=euler:2,midpoint:4 --input=uint8

writes <output>/serving/<model>/<version>/, the next free version, with the signatures
`serving_default`, `euler_2` ..: image -> logits, probabilities, label. They share one
set of variables. Class names, normalisation and warm-up requests are in its
assets.extra/, its model card is model_card.md, and models.config and batching.config
for the server lie beside the models.

The export is loaded again and must agree with Keras within 1e-5 in all logits and
within 0.02 points of accuracy. A version appears complete or not at all, and none is
ever overwritten. The same export in a new process writes the same bytes. Exit codes: 0
written, 1 no agreement, 2 bad input; after 1 and 2 nothing is left.
"""

import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's own notes; it reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

from export import gated_export, options, staging, tf_serving
from export.formats.record import Recipe
from export.formats.saved_model import FORMAT
from export.source import first_test_images

# TF Serving reads versions as int64 and ignores folders with a larger number.
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
    """Parses a name that is valid as a folder, in a URL and in models.config."""

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
        "Version, 1 or more. Default: one above the latest.",
    ),
)


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the folder of the new version."""
    output = staging.output_folder(values.run, values.output) / "serving"
    model = values.model_name
    staging.refuse_version(output / model, values.version)
    source, data = gated_export.read(values, FORMAT)
    test = first_test_images(data, values.accuracy_images)
    with staging.workspace(output) as folder:
        path, card = gated_export.write(
            FORMAT,
            source,
            Recipe(values.input, "float32", test[0], model),
            test,
            folder,
            name=model,
            license=values.license,
            parity_images=values.parity_images,
        )
        with staging.writing():
            (path / "model_card.md").write_text(card, encoding="utf-8")
            configs = tf_serving.write_configs(folder, output, model)
            version = staging.publish_version(path, output / model, values.version)
            for config in configs:
                os.replace(config, output / config.name)
    print(f"Wrote {version}\nServe it: {tf_serving.docker_command(output)}")
    return version


if __name__ == "__main__":
    options.run(main, OPTIONS)
