"""Training with Keras' `fit` while the depth grows."""

import contextlib
import math

import keras

from cnet_tf.compiled import compile_like
from cnet_tf.refinement import refine
from cnet_tf.surgery import chosen_blocks


def fit_growing(model, x=None, y=None, *, grow, epochs, callbacks=None, **settings):
    """Trains a compiled model and refines its depth before some of the epochs.

    Does what `model.fit` does, over a sequence of models: each growth takes K to
    factor K and N to factor N and leaves theta(t) unchanged. Optimizer (momentum,
    counters, schedule), loss, metrics and callbacks continue across a growth; callbacks
    see one training, and best weights that they keep are refined too. Data sets that
    `steps_per_epoch` reads in parts start over at a growth.

    Args:
        model: A compiled functional or Sequential model with `ContinuousBlock`s in it.
        x, y: See `keras.Model.fit`.
        grow: {epoch: factor}: the epochs before which to refine, counted from 0 and
            below `epochs`, and by which factors; see `refine`.
        epochs: Total number of epochs.
        callbacks: List of `keras.callbacks.Callback`s, or None. Their `model` is the
            one in training.
        settings: Further arguments of `fit`, such as `batch_size`, `verbose`,
            `validation_data`, `initial_epoch`.

    Returns:
        (model, history): the grown model, compiled, and one `keras.callbacks.History`
        of all epochs. The given model is trained up to the first growth.

    Raises:
        ValueError: the model cannot be refined or is not compiled, or an epoch of
            `grow` is never reached.
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
            "would never be reached."
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
    """Returns the batches per epoch, for callbacks; None if x does not tell."""
    first, *_ = keras.tree.flatten(x)
    if not getattr(first, "shape", None):
        try:
            return len(first)  # A data set of batches.
        except TypeError:
            return None
    count = math.floor(first.shape[0] * (1 - settings.get("validation_split", 0.0)))
    return math.ceil(count / (settings.get("batch_size") or 32))


@contextlib.contextmanager
def _unaveraged(optimizer):
    """Leaves the weights alone at the end of a `fit` that does not end the training.

    Otherwise an optimizer with `use_ema` overwrites them with their averages.
    """
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def _grown(model, factor, callbacks):
    """Returns the refined model, compiled like the given one, with its optimizer."""
    if not model.optimizer.built:  # Before the first epoch.
        model.optimizer.build(model.trainable_variables)
    deep, optimizer = refine(model, factor, optimizer=model.optimizer)
    compile_like(deep, model, optimizer)
    for callback in callbacks:  # `EarlyStopping` restores them.
        if getattr(callback, "best_weights", None) is not None:
            callback.best_weights = _refined(model, callback.best_weights, factor)
    return deep


def _refined(model, weights, factor):
    """Converts weights of a model to those of the refined one."""
    now = model.get_weights()
    model.set_weights(weights)
    try:
        return refine(model, factor).get_weights()
    finally:
        model.set_weights(now)


class _OneTraining(keras.callbacks.CallbackList):
    """Callbacks over several calls of `fit`, which see one beginning and one end."""

    begun = False

    def on_train_begin(self, logs=None):
        if not self.begun:
            self.begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs=None):
        self.last = logs

    def end(self):
        """Tells the callbacks that the training has ended."""
        super().on_train_end(getattr(self, "last", None))
