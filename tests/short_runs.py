"""Trainings of seconds, stopped or not, and what they leave."""

import pathlib

import numpy as np

from cnet_tf import checkpoint


class After:
    """Stands for `trainers.interruption.Interruption`: stops after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def __enter__(self):
        return self

    def __exit__(self, *_):
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
