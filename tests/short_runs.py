"""Trainings of seconds, stopped or not, and what they leave."""

import pathlib
import sys

import numpy as np

from cnet_tf import checkpoint

TRAIN = pathlib.Path(__file__).resolve().parent.parent / "trainers" / "train.py"


def command(runs, data_dir, *more) -> list[str]:
    """The command line of a short training of the digits net, with more flags."""
    return [
        sys.executable,
        str(TRAIN),
        f"--runs_dir={runs}",
        f"--data_dir={data_dir}",
        "--scheme=euler",
        "--batch_size=32",
        "--learning_rate=0.05",
        "--notensorboard",
        "--verbose=0",
        *more,
    ]


class After:
    """Stands for `trainers.interruption.Interruption`: stops after so many batches.

    Those of validations and of the test count too, and those of recalibrations.
    """

    def __init__(self, batches):
        self.left = batches

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def listen(self):
        pass

    def defer(self):
        pass

    @property
    def reason(self):
        self.left -= 1
        return "test" if self.left <= 0 else None


def weights(run) -> list[np.ndarray]:
    """Weights and statistics of the net of a run directory."""
    return checkpoint.load(pathlib.Path(run, "net")).net.get_weights()


def assert_equal(found, expected):
    """Bit for bit."""
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
