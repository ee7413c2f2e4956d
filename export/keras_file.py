"""A classifier to export from a `.keras` file."""

import keras

from cnet_tf import keras_file
from cnet_tf.architecture import copied, in_precision
from trainers.errors import OptionError


def read_model(path) -> keras.Model:
    """Reads a functional or Sequential classifier of one input.

    Args:
        path: A .keras file.

    Returns:
        The built, uncompiled model in float32: (batch, ..) to one output (batch,
        classes), every dimension but the batch fixed.

    Raises:
        OptionError: see `cnet_tf.keras_file.read`; several inputs or outputs, one of
            integers, a free dimension, a fixed batch, or an output of another rank.
    """
    try:
        model = keras_file.read(path)
    except keras_file.KerasFileError as error:
        raise OptionError(f"--model: {error}") from error
    _check_model(model)
    model = in_precision(model, "float32")
    # Layers of float32 may stand behind an input of less.
    return model if model.inputs[0].dtype == "float32" else copied(model, "float32")


def _check_model(model) -> None:
    """Refuses what cannot be exported as a classifier of batches of one input."""
    shapes = {tensor.name: tuple(tensor.shape) for tensor in model.inputs}
    if len(shapes) != 1 or len(model.inputs) != 1:
        raise _refused("a model of one input", _shown(shapes), "export a part of it")
    ((batch, *sizes),) = shapes.values()
    if None in sizes:
        raise _refused(
            "an input whose shape is fixed but for the batch",
            _shown(shapes),
            "fix it with keras.Input(shape) and call the model on that",
        )
    if batch is not None:
        raise _refused(
            "an input with a free batch",
            _shown(shapes),
            "call the model on a keras.Input without a batch size",
        )
    kind = model.inputs[0].dtype
    if "float" not in kind:  # Keras would cut normalised images to integers.
        raise _refused(
            "an input of floats",
            f"{_shown(shapes)} and type {kind}",
            "build it on a keras.Input of float32; --std=0.00392156863 gives it pixels "
            "of 0 to 255",
        )
    last = model.outputs[0]._keras_history.operation
    functions = getattr(last, "activation", None), type(last)
    if keras.activations.softmax in functions or keras.layers.Softmax in functions:
        raise _refused(
            "a model of logits",
            f"{model.name!r}, whose last layer {last.name!r} takes a softmax",
            "give it `activation = keras.activations.linear` and save it again; "
            "exports return probabilities beside the logits",
        )
    outputs = {tensor.name: tuple(tensor.shape) for tensor in model.outputs}
    if len(outputs) != 1 or any(
        len(shape) != 2 or shape[1] is None for shape in outputs.values()
    ):
        raise _refused(
            "one output of shape (batch, classes)",
            _shown(outputs),
            "end it with a Dense layer, or export keras.Model(model.inputs, logits)",
        )


def _shown(shapes) -> str:
    return ", ".join(f"{name!r} of shape {shape}" for name, shape in shapes.items())


def _refused(expected, received, remedy) -> OptionError:
    return OptionError(f"--model: expected {expected}. Received {received}: {remedy}.")
