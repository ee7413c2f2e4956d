"""Curves of a run for TensorBoard; a failed write ends like any other of the run."""

import keras
import tensorflow as tf

from trainers.run_directory import writing


class Curves(keras.callbacks.TensorBoard):
    """Writes logs of epochs to <run>/tensorboard.

    Args:
        run: The run directory.
        runs_dir: The folder that the user named, for messages.

    Raises:
        OptionError: in any method, if a file cannot be written.
    """

    def __init__(self, run, runs_dir):
        super().__init__(str(run / "tensorboard"), write_graph=False)
        self._runs_dir = runs_dir

    def set_model(self, model):
        with self._writing():
            super().set_model(model)

    def on_train_begin(self, logs=None):
        with self._writing():
            super().on_train_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        with self._writing():
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        with self._writing():
            super().on_train_end(logs)

    def _writing(self):
        # TensorFlow raises its own errors for a full disk.
        return writing(self._runs_dir, tf.errors.OpError)
