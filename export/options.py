"""The flags that the export scripts share.

Bad input costs one line on stderr, `error: --flag: expected .. Received ..: remedy`,
and exit code 2. A failed comparison ends with exit code 1.
"""

import sys
from typing import NoReturn

from absl import flags

import cnet_tf
from export import calibration
from export.measure import MeasureError
from export.parity import ParityError
from export.serving import INPUTS
from trainers.errors import run_command


class AtLeast(flags.ArgumentParser):
    """Parses a whole number, at least `limit`."""

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
    """Parses one of the given names."""

    def __init__(self, names):
        super().__init__()
        self.names = tuple(names)

    def parse(self, argument):
        if argument not in self.names:
            raise ValueError(
                f"expected one of {', '.join(self.names)}. Received {argument!r}"
            )
        return argument


class ListOf(flags.ArgumentParser):
    """Parses values separated by commas, each once."""

    def __init__(self, item: flags.ArgumentParser):
        super().__init__()
        self.item = item

    def parse(self, argument):
        texts = argument.split(",")
        values = tuple(self.item.parse(text.strip()) for text in texts)
        if len(set(values)) < len(values):
            raise ValueError(f"expected each value once. Received {argument!r}")
        return values


class Manifestation(flags.ArgumentParser):
    """Parses `scheme:steps` to the pair of a key of `SCHEMES` and N >= 1."""

    def parse(self, argument):
        scheme, _, steps = argument.partition(":")
        try:
            return OneOf(cnet_tf.SCHEMES).parse(scheme), AtLeast(1).parse(steps)
        except ValueError as error:
            raise ValueError(
                f"expected scheme:steps, like rk4:2. Received {argument!r}: {error}"
            ) from None


TEXT = flags.ArgumentParser()
SWITCH = flags.BooleanParser()

# (name, parser, default, help)
SHARED = (
    (
        "run",
        TEXT,
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
        TEXT,
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
        TEXT,
        None,
        "Where TFDS keeps its data sets. Default: TFDS_DATA_DIR of the environment, "
        "then ~/tensorflow_datasets.",
    ),
    (
        "parity_images",
        AtLeast(1),
        1000,
        "Test images to compare the logits of the export with Keras on, 1 or more; "
        "all of them if there are fewer.",
    ),
    (
        "accuracy_images",
        AtLeast(1),
        10_000,
        "Test images to compare the accuracy of the export with that of Keras on, 1 "
        "or more; all of them if there are fewer.",
    ),
    (
        "basis_size",
        AtLeast(1),
        None,
        "K', functions of a smaller basis to project the weights onto first (L2). "
        "Default: as trained.",
    ),
    (
        "recalibrate",
        AtLeast(0),
        0,
        "Batches of 128 training images to re-estimate the batch norms on first; 0 "
        "leaves them as trained.",
    ),
    (
        "fold",
        SWITCH,
        None,
        "Fold batch norms, step and horizon into the kernels. Default: not in a "
        "SavedModel, nor where several manifestations share their weights; else yes.",
    ),
    (
        "license",
        TEXT,
        "unspecified",
        "Licence of the weights, for the model card.",
    ),
)

# For formats with several signatures in one artefact.
MANIFESTATIONS = (
    "manifestations",
    ListOf(Manifestation()),
    None,
    "Further signatures that share the weights of the first, like "
    "euler:2,midpoint:4,rk4:8. Default: none.",
)

# For formats with integer precisions.
CALIBRATION = (
    "calibration_images",
    AtLeast(calibration.SMALLEST),
    500,
    f"Training images to learn the ranges of int8 on, {calibration.SMALLEST} or more.",
)


def define(flag_values: flags.FlagValues, options=SHARED) -> None:
    """Defines flags, as flags of the program rather than of this module."""
    # Not at module level: absl allows one definition of a flag in a process, and the
    # trainers have a --data_dir too.
    for name, parser, default, text in options:
        settings = {"flag_values": flag_values, "module_name": sys.argv[0]}
        if parser is SWITCH:  # So that --nofold is a flag too.
            flags.DEFINE_boolean(name, default, text, **settings)
        else:
            serializer = flags.ArgumentSerializer()
            flags.DEFINE(parser, name, default, text, serializer=serializer, **settings)


def run(main, options=SHARED, failures=()) -> NoReturn:
    """Runs `main(flags)` as a program and turns its errors into lines and exit codes.

    Args:
        main: Function of the parsed flags.
        options: The flags of the program, like `SHARED`.
        failures: Further exceptions that report a result: exit code 1.
    """
    define(flags.FLAGS, options)
    run_command(lambda: main(flags.FLAGS), [ParityError, MeasureError, *failures])
