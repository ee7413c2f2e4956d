"""Training under Keras' `fit` while the depth grows."""

import keras

from cnet_tf.refinement import refine
from cnet_tf.surgery import chosen_blocks


def fit_growing(model, x=None, y=None, *, grow, epochs, callbacks=None, **settings):
    """Trains a compiled model and refines its depth before some of the epochs.

    What `model.fit` does, over one model after the other: K -> factor K and N -> factor
    N, theta(t) unchanged. Optimizer (momentum, counters, schedule), loss, metrics and
    callbacks go on across the growth; callbacks see one training.

    Args:
        model: A compiled functional or Sequential model with `ContinuousBlock`s in it.
        x, y: See `keras.Model.fit`.
        grow: {epoch: factor}: before which epochs, counted from 0 and below `epochs`,
            to refine by what; see `refine`.
        epochs: Epochs in all.
        callbacks: List of `keras.callbacks.Callback`s, or None. Their `model` is the
            one in training.
        settings: Further arguments of `fit`, as `batch_size`, `verbose`,
            `validation_data`, `initial_epoch`.

    Returns:
        (model, history): the grown model, compiled, and one `keras.callbacks.History`
        of all epochs. The model that was given is trained up to the first growth.

    Raises:
        ValueError: the model cannot be refined or is not compiled, or an epoch of
            `grow` would never come.
    """
    chosen_blocks(model)
    if not model.compiled:
        raise ValueError(
            f"model: expected a compiled model. Received {model.name!r}: call "
            "`compile` first."
        )
    first = settings.pop("initial_epoch", 0)
    late = [epoch for epoch in grow if not first <= epoch < epochs]
    if late:
        raise ValueError(
            f"grow: expected epochs in {first} .. {epochs - 1}. Received {late}, which "
            "would never come."
        )
    training = _OneTraining(
        callbacks, add_history=True, add_progbar=settings.get("verbose", 1) != 0
    )
    borders = sorted({first, epochs, *grow})
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        if start in grow:
            model = _grown(model, grow[start])
        training.set_model(model)
        model.fit(
            x,
            y,
            initial_epoch=start,
            epochs=end,
            callbacks=training,
            **settings,
        )
        if model.stop_training:
            break
    training.end()
    return model, model.history


def _grown(model, factor):
    """The refined model, compiled like the given one, with its optimizer."""
    deep, optimizer = refine(model, factor, optimizer=model.optimizer)
    compiled = keras.saving.deserialize_keras_object(model.get_compile_config())
    deep.compile(**{**compiled, "optimizer": optimizer})
    return deep


class _OneTraining(keras.callbacks.CallbackList):
    """Callbacks over several calls of `fit`, told once of the begin and of the end."""

    begun = False

    def on_train_begin(self, logs=None):
        if not self.begun:
            self.begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs=None):
        self.last = logs

    def end(self):
        """Tells the callbacks of the end."""
        super().on_train_end(getattr(self, "last", None))
