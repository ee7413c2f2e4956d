"""Training under Keras' `fit` while the depth grows."""

import contextlib
import math

import keras

from cnet_tf.refinement import refine
from cnet_tf.surgery import chosen_blocks


def fit_growing(model, x=None, y=None, *, grow, epochs, callbacks=None, **settings):
    """Trains a compiled model and refines its depth before some of the epochs.

    What `model.fit` does, over one model after the other: K -> factor K and N -> factor
    N, theta(t) unchanged. Optimizer (momentum, counters, schedule), loss, metrics and
    callbacks go on across the growth; callbacks see one training, and best weights that
    they keep are refined too. Data sets that `steps_per_epoch` reads in parts begin
    anew at a growth.

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
    verbose = settings.get("verbose", 1)
    training = _OneTraining(
        callbacks,
        add_history=True,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=settings.get("steps_per_epoch") or _batches(x, settings),
    )
    borders = sorted({first, epochs, *grow})
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        if start in grow:
            model = _grown(model, grow[start], training.callbacks)
        training.set_model(model)
        with _unaveraged(model.optimizer):
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
    model.optimizer.finalize_variable_values(model.trainable_variables)
    training.end()
    return model, model.history


def _batches(x, settings) -> int | None:
    """Batches of an epoch, which callbacks may ask for; None where x does not tell."""
    first, *_ = keras.tree.flatten(x)
    if not getattr(first, "shape", None):
        try:
            return len(first)  # A data set, of batches.
        except TypeError:
            return None
    count = math.floor(first.shape[0] * (1 - settings.get("validation_split", 0.0)))
    return math.ceil(count / (settings.get("batch_size") or 32))


@contextlib.contextmanager
def _unaveraged(optimizer):
    """`fit` ends here, training does not: weights stay what they are.

    An optimizer with `use_ema` puts their averages in their place at its end.
    """
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def _grown(model, factor, callbacks):
    """The refined model, compiled like the given one, with its optimizer."""
    deep, optimizer = refine(model, factor, optimizer=model.optimizer)
    # The objects themselves: a loss of the user's own has no config.
    metrics, loss = model._compile_metrics, model._compile_loss
    deep.compile(
        optimizer=optimizer,
        loss=model.loss,
        loss_weights=loss and loss._user_loss_weights,
        metrics=metrics and metrics._user_metrics,
        weighted_metrics=metrics and metrics._user_weighted_metrics,
        run_eagerly=model.run_eagerly,
        steps_per_execution=model.steps_per_execution,
        jit_compile=model.jit_compile,
    )
    for callback in callbacks:  # `EarlyStopping` gives them back.
        if getattr(callback, "best_weights", None) is not None:
            callback.best_weights = _refined(model, callback.best_weights, factor)
    return deep


def _refined(model, weights, factor):
    """Weights of a model as those of the refined one."""
    now = model.get_weights()
    model.set_weights(weights)
    try:
        return refine(model, factor).get_weights()
    finally:
        model.set_weights(now)


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
