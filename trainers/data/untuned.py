"""Data sets without tf.data's tuner, whose thread makes the end of an epoch wait."""

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same, whatever is made of it, with as many parallel calls as there are cores.

    The tuner sleeps for up to a minute between its looks at a pipeline. It is woken
    when an iterator is deleted, but before the iterator counts as cancelled, so on busy
    cores it often sleeps on, and deleting waits for it (TensorFlow 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
