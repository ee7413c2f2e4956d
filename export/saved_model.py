"""Exports a trained net as a TensorFlow SavedModel, for TF Serving and the like.

    python export/saved_model.py --steps=2
    python export/saved_model.py --manifestations=euler:2,midpoint:4 --input=uint8

writes <output>/serving/<model>/<version>/, the next free version, with the signatures
`serving_default`, `euler_2` ..: image -> logits, probabilities, label. They share one
set of variables. Class names, normalisation and warm-up requests are in its
assets.extra/, its model card is model_card.md, and models.config and batching.config
for the server lie beside the models.

The export is reloaded and must agree with Keras within 1e-5 in all logits and within
0.02 points of accuracy. A version appears complete or not at all, and none is ever
overwritten. The same export in a new process writes the same bytes. Exit codes: 0
written, 1 no agreement, 2 bad input, 3 the net's logits are not finite; unless 0,
nothing is left behind.
"""

import dataclasses
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's log messages; it reads this on import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

from cnet_tf.escaping import line
from export import gated_export, options, tf_serving
from export.formats.saved_model import FORMAT
from export.job import Job
from export.parity import ParityError
from export.staging import (
    LAST_VERSION,
    Workspace,
    latest_version,
    refuse_version,
    writing,
)
from trainers import run_lock
from trainers.data.errors import tell
from trainers.option_kinds import integer, text
from trainers.option_table import option, run

# How long to wait for another export, which only moves a few files.
_PATIENCE_SECONDS = 10.0


def _is_name(given) -> bool:
    """Checks that a name is valid as a folder, in a URL and in models.config."""
    plain = given.replace("_", "").replace("-", "").isalnum()
    return given.isascii() and plain and not given.isdecimal()


@dataclasses.dataclass(frozen=True)
class Options(options.Export):
    """Options of a SavedModel."""

    manifestations: tuple = options.manifestations()
    model_name: str = option(
        "cnet",
        text("letters, digits, _ and -, but not only digits", _is_name),
        "Name of the model in TF Serving",
    )
    version: int | None = option(
        None,
        integer(1, LAST_VERSION),
        "Version of the model in TF Serving",
        "one above the latest",
    )


def main(options) -> pathlib.Path:
    """Exports as the options say. Returns the folder of the new version."""
    model, workspace = options.model_name, Workspace(options.folder / "serving")
    refuse_version(workspace.parent / model, options.version)
    with workspace:
        job = Job.read(options, FORMAT)
        path, card = gated_export.write(job, workspace.folder, model)
        with writing():
            (path / "model_card.md").write_text(card, encoding="utf-8")
        version = publish(workspace, path, model, options.version)
    command = tf_serving.docker_command(workspace.parent)
    print(f"Wrote {line(version)}\nServe it: {command}")
    latest = latest_version(version.parent)
    if latest > int(version.name):
        tell(f"TF Serving serves the latest version, {latest}, unless told otherwise.")
    return version


def publish(workspace, path, model: str, version: int | None = None) -> pathlib.Path:
    """Moves a SavedModel to where a server finds it, and updates the server's configs.

    One process at a time, because models.config lists all existing models.

    Args:
        workspace: Workspace of the folder of all models.
        path: Path of the SavedModel, in the workspace.
        model, version: See `Workspace.publish_version`.

    Returns:
        The folder of the version.

    Raises:
        OptionError: the version already exists, or the file system refuses.
    """
    with run_lock.of_folder(workspace.parent, _PATIENCE_SECONDS), writing():
        configs = tf_serving.write_configs(workspace.folder, workspace.parent, model)
        target = workspace.publish_version(path, model, version)
        for config in configs:
            os.replace(config, workspace.parent / config.name)
    return target


if __name__ == "__main__":
    run(main, Options, failures=[ParityError])
