"""Data sets without tf.data's tuner, whose thread delays the end of an epoch."""

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns the tuner off, here and downstream: as many parallel calls as cores.

    The tuner sleeps for up to a minute between checks of a pipeline. Deleting an
    iterator wakes it, but before the iterator counts as cancelled, so on busy cores it
    often goes back to sleep, and the deletion waits for it (TensorFlow 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
