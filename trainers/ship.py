"""Adds a trained net to the weights that ship with the package.

    python trainers/ship.py --run=runs/latest --preset=cifar10_any_depth

Writes net, card.md and the records of the run to cnet_tf/weights/<preset>, where
`continuous_net(preset, weights=<data set>)` and `--run=pretrained:<preset>` find them.
Score the run with trainers/evaluate.py first: its grid becomes part of the card.
"""

import dataclasses
import math
import os
import pathlib
import re
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quick_start.import_keras()

from cnet_tf import checkpoint, plain_file, pretrained
from cnet_tf.any_depth import members_of, with_statistics_apart
from cnet_tf.architecture import copied
from cnet_tf.atomic_file import json_bytes, write_bytes
from cnet_tf.escaping import code, line, markdown
from cnet_tf.manifestation import manifest, recalibrate, recalibrated_along
from cnet_tf.member_name import manifestation_of
from cnet_tf.paths import named_variables
from cnet_tf.presets import PRESETS, continuous_net
from trainers import data as image_data
from trainers import disk
from trainers.data.batches import eval_batches, recalibration_batches_of
from trainers.data.description import checked
from trainers.data_option import LATEST, data_dir
from trainers.errors import OptionError
from trainers.members import members
from trainers.option_kinds import integer, one_of, run_folder, text
from trainers.option_table import OptionTable, option
from trainers.option_table import run as run_program
from trainers.steps import accuracy_of, evaluate

# Images per batch of the test.
_SCORED = 500

# Records of a run, for the cards of exports and for trainers/compare.py.
_RECORDS = (
    "flags.txt",
    "environment.json",
    "summary.json",
    "log.csv",
    "timing.csv",
    "evaluation/grid.csv",
)


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a shipment."""

    run: str = option(LATEST, run_folder(), "Net to ship")
    preset: str = option("cifar10_any_depth", one_of(PRESETS), "Preset of the net")
    recipe: str = option(
        "",
        text(empty=True),
        "How the run was started, if its flags do not say all of it",
    )
    recalibrate: int = option(
        0,
        integer(0),
        "Batches of 128 training images to re-estimate the statistics of members on, "
        "separately for each evaluation; if the preset has cells of depth, those of "
        "all other manifestations too",
    )
    data_dir: str | None = data_dir()
    license: str = option("Apache-2.0", text(), "Licence of the weights")


def main(options) -> pathlib.Path:
    """Ships the net of a run; returns its folder."""
    run = pathlib.Path(options.run)
    trained = checkpoint.load(run / "net")
    shape = checked(trained.metadata, run, trained.net)["image_shape"]
    net = copied(trained.net, "float32", input_shape=shape)
    summary = _json(run / "summary.json")
    if options.recalibrate:
        said = trained.metadata["data"]
        images = image_data.load_as_trained(said, options.data_dir, ("train", "test"))
        net = _recalibrated(net, images, said, options)
        summary |= _scores(net, images)
    _check(net, options.preset)
    folder = pretrained.folder_of(options.preset)
    # Without the places of data and runs on this machine.
    data = {k: v for k, v in trained.metadata["data"].items() if k != "found_in"}
    text = card(run, trained, summary, options).encode()
    records = {name: _content(run / name) for name in _RECORDS}
    if options.recalibrate:
        records["summary.json"] = json_bytes(summary)
    for place, name in _places(run):
        records = {k: v and v.replace(place, name) for k, v in records.items()}
    with disk.writing("preset"):
        checkpoint.save(net, folder / "net", {**trained.metadata, "data": data})
        for name, content in {**records, "card.md": text}.items():
            if content is not None:
                (folder / name).parent.mkdir(exist_ok=True)
                write_bytes(folder / name, content)
    print(f"Shipped to {line(folder)}: net, card.md, {', '.join(_RECORDS)}")
    return folder


def _places(run) -> list[tuple[bytes, bytes]]:
    """Lists local folders that the records of a run name, and their replacements."""
    flags = _content(run / "flags.txt") or b""
    found = re.search(rb"^--model=\W?(/.*/)", flags, re.MULTILINE)
    models = [(found[1], b"models/")] if found else []
    return [(str(run.resolve().parent).encode(), b"runs"), *models]


def _recalibrated(net, data, said, options):
    """Returns the net with new statistics: its members', and its own if it is one."""
    images = recalibration_batches_of(data, said, options.recalibrate)
    if cells := PRESETS[options.preset].get("depth_cells"):
        net = recalibrated_along(net, images, cells)
    else:
        net = with_statistics_apart(net)
    for name in members_of(net):
        recalibrate(manifest(net, *manifestation_of(name)), images)
    return net


def _scores(net, data) -> dict:
    """Returns the current test scores of the net and its members, as in a summary."""
    batches = eval_batches(data, "test", _SCORED)
    return {
        **{f"test_{key}": value for key, value in evaluate(net, batches).items()},
        "test_accuracy_of_members": {
            name: accuracy_of(evaluate(twin, batches))
            for name, twin in members(net).items()
        },
    }


def _check(net, preset):
    """Rejects a net whose weights do not have the preset's names and shapes."""
    expected, found = (
        {path: tuple(v.shape) for path, v in named_variables(one).items()}
        for one in (continuous_net(preset), net)
    )
    if found != expected:
        path = min(found.items() ^ expected.items())[0]
        raise OptionError(
            f"--preset: expected the net of {preset!r}. Received one in which {path} "
            f"is {found.get(path)}, not {expected.get(path)}: name its own preset."
        )


def card(run, trained, summary, options) -> str:
    """Returns what a user has to know about the weights, in Markdown."""
    data = trained.metadata["data"]
    environment = _json(run / "environment.json")
    seconds = summary.get("train_seconds")
    then = "as it ships" if options.recalibrate else "when the training ended"
    accuracies = {"the whole": summary.get("test_accuracy")}
    others = summary.get("test_accuracy_of_members")
    accuracies |= others if isinstance(others, dict) else {}
    grid = _content(run / "evaluation" / "grid.md")
    parts = [
        f"# {options.preset}, trained on {markdown(data['name'])}",
        code(f"continuous_net({options.preset!r}, weights={data['name']!r})"),
        f"Test accuracy {then}: "
        + ", ".join(
            f"{markdown(name)} {100 * value:.2f} %"
            for name, value in accuracies.items()
            if _is_number(value)
        ),
        *(["## Manifestations", grid.decode(errors="replace").strip()] if grid else []),
        "## Data",
        f"{code(data['name'])}, images {data['image_shape']}, scaled to 0..1, "
        f"normalised with mean {_numbers(data['mean'])} and std "
        f"{_numbers(data['std'])}. Classes: "
        f"{', '.join(map(markdown, data['class_names']))}.",
        "## Recipe",
        f"{options.recipe}\n\nflags.txt holds the flags of the run, seed included, "
        "environment.json versions and machine, summary.json times and the history.",
        f"One seed. {(seconds if _is_number(seconds) else 0) / 60:.0f} minutes of "
        f"training on {markdown(_machine(environment))}.",
        "## Licence",
        f"Weights: {options.license}. Data set: the terms of its provider.",
    ]
    return "\n\n".join(parts) + "\n"


def _machine(environment) -> str:
    """Names what a run was trained on: its accelerators, or processor cores."""
    accelerators = environment.get("accelerators")
    if accelerators and isinstance(accelerators, list):
        return ", ".join(map(str, accelerators))
    return f"{environment.get('cores')} cores of {environment.get('processor')}"


def _is_number(value) -> bool:
    """Whether a record holds a finite number; others may have written it."""
    return isinstance(value, float) and math.isfinite(value)


def _json(path) -> dict:
    try:
        return plain_file.read_json(path)
    except plain_file.PlainFileError as error:
        if error.missing:
            return {}
        raise


def _content(path) -> bytes | None:
    """Returns the content of a file of the run, or None if there is no such file."""
    try:
        return plain_file.read_bytes(path)
    except plain_file.PlainFileError as error:
        if error.missing:
            return None
        raise


def _numbers(values) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    run_program(main, Options)
