"""The flags that the export scripts share, and the trained net they ask for.

Bad input costs one line on stderr, `error: --flag: expected .. Received ..: remedy`,
and exit code 2. A failed comparison ends with exit code 1.
"""

import dataclasses
import os
import pathlib
import sys
from typing import NoReturn

import numpy as np
from absl import flags

import cnet_tf
from cnet_tf import checkpoint
from cnet_tf.net import Net
from export.parity import ParityError
from export.serving import INPUTS
from trainers.data import load_as_trained
from trainers.errors import OptionError, run_command

# What the trainer has to say of its data, all of which an export needs.
_DATA_KEYS = ("name", "image_shape", "class_names", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Manifestation:
    """A trained net as a scheme and steps, with what is known of its data.

    Attributes:
        net: Built; shares no variables with other nets.
        data: Name, image_shape, class_names, mean and std of the training data.
        output: Where its exports go. May not exist yet.
    """

    net: Net
    data: dict
    output: pathlib.Path

    @property
    def name(self) -> str:
        """`<scheme>-<steps>`, with one number a block where they differ."""
        if not self.net.blocks:
            return type(self.net).__name__.lower()
        steps = [block.steps for block in self.net.blocks]
        steps = steps[:1] if len(set(steps)) == 1 else steps
        return "-".join(map(str, [self.net.blocks[0].scheme, *steps]))


class AtLeast(flags.ArgumentParser):
    """Parses a whole number that is not below a limit."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def parse(self, argument):
        try:
            value = int(argument)
        except ValueError:
            value = None
        if value is None or value < self.limit:
            raise ValueError(
                f"expected an integer >= {self.limit}. Received {argument!r}"
            )
        return value


class OneOf(flags.ArgumentParser):
    """Parses one of some names."""

    def __init__(self, names):
        super().__init__()
        self.names = tuple(names)

    def parse(self, argument):
        if argument not in self.names:
            raise ValueError(
                f"expected one of {', '.join(self.names)}. Received {argument!r}"
            )
        return argument


_TEXT = flags.ArgumentParser()

# (name, parser, default, help)
SHARED = (
    (
        "run",
        _TEXT,
        "runs/latest",
        "Folder of a run of trainers/train.py.",
    ),
    (
        "steps",
        AtLeast(1),
        None,
        "N, steps of every block, 1 or more; graph and latency grow with it. "
        "Default: as trained.",
    ),
    (
        "scheme",
        OneOf(cnet_tf.SCHEMES),
        None,
        f"One of {', '.join(cnet_tf.SCHEMES)}. Default: as trained.",
    ),
    (
        "output",
        _TEXT,
        None,
        "Folder for the exports of the run. Default: exports/<name of the run>.",
    ),
    (
        "input",
        OneOf(INPUTS),
        "normalized",
        "What the exported graph takes: "
        + "; ".join(f"{name}: {kind.text}" for name, kind in INPUTS.items())
        + ".",
    ),
    (
        "data_dir",
        _TEXT,
        None,
        "Where TFDS keeps its data sets. Default: TFDS_DATA_DIR of the environment, "
        "then ~/tensorflow_datasets.",
    ),
    (
        "parity_images",
        AtLeast(1),
        1000,
        "Test images to compare the export with Keras on, 1 or more; all of them if "
        "there are fewer.",
    ),
)


def define(flag_values: flags.FlagValues, options=SHARED) -> None:
    """Defines flags, as flags of the program rather than of this module."""
    # A function, not module level: absl knows one definition of a name in a process,
    # and the trainers have a --data_dir too.
    for name, parser, default, text in options:
        flags.DEFINE(
            parser,
            name,
            default,
            text,
            flag_values=flag_values,
            serializer=flags.ArgumentSerializer(),
            module_name=sys.argv[0],
        )


def run(main, options=SHARED) -> NoReturn:
    """Runs `main(flags)` as a program and turns its errors into lines and exit codes.

    Args:
        main: Function of the parsed flags.
        options: The flags of the program, like `SHARED`.
    """
    define(flags.FLAGS, options)
    run_command(lambda: main(flags.FLAGS), failures=[ParityError])


def load_manifestation(values) -> Manifestation:
    """The net of `--run` as `--scheme` and `--steps`, and where to put it.

    Args:
        values: Parsed flags, or anything with attributes of their names.

    Raises:
        OptionError: no run, a damaged checkpoint, a net without the scheme and steps
            asked for, or an output folder that cannot be written. Nothing was written.
    """
    run_directory = pathlib.Path(values.run)
    try:
        trained = checkpoint.load(run_directory / "net")
        _check_data(trained, run_directory)
    except (checkpoint.CheckpointError, OSError) as error:
        raise OptionError(f"--run: {error}") from error
    net = trained.net
    if values.scheme is not None or values.steps is not None:
        try:
            net = cnet_tf.manifest(net, values.scheme, values.steps)
        except ValueError as error:
            raise OptionError(f"--scheme, --steps: {error}") from error
    name = run_directory.resolve().name
    output = pathlib.Path(values.output or pathlib.Path("exports", name))
    _check_writable(output)
    return Manifestation(_in_float32(net), trained.metadata["data"], output)


def load_test_images(source: Manifestation, values) -> tuple[np.ndarray, np.ndarray]:
    """The first `--parity_images` test images and labels of the run's data set.

    Returns:
        uint8 (B, H, W, C) and int64 (B,).

    Raises:
        DataError: the data set cannot be had.
        OptionError: it is another data set than the run's.
    """
    known = source.data
    found = load_as_trained(known, values.data_dir)
    if list(found.class_names) != list(known["class_names"]):
        raise OptionError(
            f"--data_dir: expected {known['name']!r} with the classes of the run, "
            f"{_brief(known['class_names'])}. Received {_brief(found.class_names)}: "
            "name the folder of the data that the net was trained on."
        )
    batches = found.test.take(values.parity_images).batch(values.parity_images)
    batch = next(batches.as_numpy_iterator())
    return batch["image"], batch["label"]


def _in_float32(net: Net) -> Net:
    """The net with all its arithmetic in float32, whatever precision it trained in."""
    # Its variables are float32 already; LiteRT knows no bfloat16.
    for layer in net._flatten_layers():
        layer.dtype_policy = "float32"
    return net


def _check_data(trained: checkpoint.Checkpoint, run_directory) -> None:
    """Refuses a net whose metadata do not say what it was trained on."""
    data = trained.metadata.get("data", {})
    missing = [key for key in _DATA_KEYS if key not in data]
    shape = tuple(trained.net.get_build_config()["input_shape"][1:])
    if missing or tuple(data["image_shape"]) != shape:
        received = f"none of {', '.join(missing)}" if missing else data["image_shape"]
        raise checkpoint.CheckpointError(
            f"{run_directory}: expected a net that says what images of shape {shape} "
            f"it was trained on. Received {received}: train it with trainers/train.py."
        )


def _check_writable(folder: pathlib.Path) -> None:
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OptionError(
            f"--output: expected a folder that can be written. Received {str(folder)!r}"
            f", where {str(nearest)!r} is not one: choose another."
        )


def _brief(names) -> str:
    return f"{len(names)}: {', '.join(list(names)[:3])}, .."
