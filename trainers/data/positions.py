"""Which examples of a split are taken, by their numbers."""

import numpy as np
import tensorflow as tf


def spread(size: int, count: int) -> np.ndarray:
    """`count` numbers below `size`, as far apart as they can be, the first of them 0.

    A split may be sorted by class, so its first examples do not stand for it.
    """
    return np.arange(count) * size // count


def examples_at(examples: tf.data.Dataset, size: int, positions) -> tf.data.Dataset:
    """Those of `size` examples that have these numbers, in the order of the set."""
    chosen = np.zeros(size, bool)
    chosen[positions] = True
    chosen = tf.constant(chosen)
    return (
        examples.enumerate()
        .filter(lambda i, _: chosen[i])
        .map(lambda _, example: example)
    )
