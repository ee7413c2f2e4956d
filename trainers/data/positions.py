"""Selects examples of a split by their numbers."""

import numpy as np
import tensorflow as tf


def spread(size: int, count: int) -> np.ndarray:
    """Returns `count` numbers below `size`, as far apart as possible, the first 0.

    A split may be sorted by class, so its first examples do not represent it.
    """
    return np.arange(count) * size // count


def examples_at(examples: tf.data.Dataset, size: int, positions) -> tf.data.Dataset:
    """Returns those of `size` examples with these numbers, in the order of the set."""
    chosen = np.zeros(size, bool)
    chosen[positions] = True
    chosen = tf.constant(chosen)
    return (
        examples.enumerate()
        .filter(lambda i, _: chosen[i])
        .map(lambda _, example: example)
    )
