"""Reads a classifier to export from a `.keras` file, with what the file leaves open."""

import dataclasses
import os
import pathlib

import keras

from cnet_tf import keras_file, plain_file
from cnet_tf.architecture import copied, in_precision
from cnet_tf.escaping import line
from cnet_tf.image_ends import (
    LEAVE_IT_OUT,
    gives_probabilities,
    last_operation,
    takes_pixels,
)
from cnet_tf.manifestation import unrolled
from cnet_tf.model_graph import layers_of
from export.runtimes import SIGNATURE
from export.source import Source
from trainers.data.class_names import MOST_LETTERS, is_name
from trainers.data.description import checked
from trainers.data.errors import tell
from trainers.data.generated import GENERATED
from trainers.data_option import per_channel
from trainers.errors import OptionError, naming


@dataclasses.dataclass(frozen=True)
class File:
    """A `.keras` file of an image classifier.

    Attributes:
        path: The file.
        labels: Class names, separated by commas, or a file with one per line. Default:
            their numbers.
        mean, std: Of the pixels in training: one number, or one per channel. Default: 0
            and 1.
    """

    path: pathlib.Path
    labels: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def read(self) -> Source:
        """Reads the model, with the description of its data that a run would have.

        Raises:
            OptionError: see `read_model`; an input that is not an image, or labels,
                mean or std that do not fit the model.
        """
        model = read_model(self.path)
        if len(model.input_shape) != 4:
            raise OptionError(
                "--model: expected a model of images (batch, height, width, channels). "
                f"Received one with inputs {model.input_shape}: export it with Keras' "
                "own `model.export`."
            )
        *_, channels = model.input_shape
        data = {
            "name": GENERATED,
            "image_shape": list(model.input_shape[1:]),
            "class_names": class_names(self.labels, model.output_shape[-1]),
            "mean": per_channel("mean", self.mean or (0.0,), channels),
            "std": per_channel("std", self.std or (1.0,), channels),
        }
        if not self.std and takes_pixels(model):
            tell(
                f"--std: {line(self.path)} seems to take pixels from 0 to 255, as it "
                "scales them itself. If so, give --std=0.00392156863: exports divide "
                "pixels by 255 first."
            )
        with naming("--model"):
            checked({"data": data}, self.path, model)
        sha256 = plain_file.sha256(self.path, follow=True)
        nets = {SIGNATURE: model}
        return Source(nets, nets, {"data": data}, (), sha256, self.path)


def class_names(given: str | None, classes: int) -> list[str]:
    """Returns the class names of a model, by class number.

    Args:
        given: See `File.labels`.
        classes: Number of classes of the model.

    Raises:
        OptionError: not one name per class, a duplicate or invalid name, or an
            unreadable file.
    """
    if given is None:
        return [str(i) for i in range(classes)]
    if os.path.isfile(given):  # `pathlib` raises on a long list of names.
        try:
            names = plain_file.read_text(given, follow=True).splitlines()
        except plain_file.PlainFileError as error:
            raise OptionError(
                f"--labels: expected a text file in UTF-8. {error}"
            ) from error
    else:
        names = given.split(",")
    names = [name.strip() for name in names if name.strip()]
    if len(names) != classes or len(set(names)) < classes:
        raise OptionError(
            f"--labels: expected {classes} different names, one per class of --model. "
            f"Received {len(set(names))} in {given!r}: list them in order, separated "
            "by commas or one per line of a file."
        )
    strange = [name for name in names if not is_name(name)]
    if strange:
        raise OptionError(
            f"--labels: expected names of at most {MOST_LETTERS} characters, without "
            f"control characters. Received {strange[0]!r}: rename it."
        )
    return names


def read_model(path) -> keras.Model:
    """Reads a functional or Sequential classifier with one input.

    Args:
        path: A .keras file.

    Returns:
        The built, uncompiled model in float32, with unrolled steps: from (batch, ..) to
        one output (batch, classes), with all dimensions fixed except the batch.

    Raises:
        OptionError: see `cnet_tf.keras_file.read`; several inputs or outputs, an
            integer input, a free dimension, a fixed batch, an output of another rank,
            or anything else that `_check_model` refuses.
    """
    with naming("--model"):
        model = keras_file.read(path)
    _check_model(model)
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        # A dict of one entry.
        model = keras.Model(model.inputs, model.outputs[0], name=model.name)
    model = unrolled(in_precision(model, "float32"))
    # Float32 layers may follow an input of lower precision.
    return model if model.inputs[0].dtype == "float32" else copied(model, "float32")


def _check_model(model) -> None:
    """Refuses models that cannot be exported as classifiers of batches of one input."""
    shapes = {tensor.name: tuple(tensor.shape) for tensor in model.inputs}
    if len(shapes) != 1 or len(model.inputs) != 1:
        raise _refused("a model with one input", _shown(shapes), "export a part of it")
    ((batch, *sizes),) = shapes.values()
    if None in sizes:
        raise _refused(
            "an input whose shape is fixed except for the batch",
            _shown(shapes),
            "fix it with keras.Input(shape) and call the model on that",
        )
    if batch is not None:
        raise _refused(
            "an input with a free batch size",
            _shown(shapes),
            "call the model on a keras.Input without a batch size",
        )
    kind = model.inputs[0].dtype
    if "float" not in kind:  # Keras would truncate normalised images to integers.
        raise _refused(
            "an input of floats",
            f"{_shown(shapes)} and type {kind}",
            "build it on a keras.Input of float32; --std=0.00392156863 gives it pixels "
            "from 0 to 255",
        )
    if gives_probabilities(model):
        raise _refused(
            "a model of logits",
            f"{model.name!r}, whose last layer {last_operation(model).name!r} applies "
            "a softmax or sigmoid",
            f"{LEAVE_IT_OUT}, and save the model again; exports return probabilities "
            "as well as logits",
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
    for layer in layers_of(model):
        function = getattr(layer, "activation", None)
        if isinstance(function, keras.layers.Layer) and function.weights:
            raise _refused(
                "functions as activations",
                f"{layer.name!r}, whose activation is the layer {function.name!r} with "
                "weights, which Keras does not save",
                "make it a layer of its own",
            )
    if model.outputs[0].shape[1] == 1:
        raise _refused(
            "logits of at least two classes",
            _shown(outputs),
            "the probability of a single class is always one; end it with Dense(2)",
        )


def _shown(shapes) -> str:
    return ", ".join(f"{name!r} of shape {shape}" for name, shape in shapes.items())


def _refused(expected, received, remedy) -> OptionError:
    return OptionError(f"--model: expected {expected}. Received {received}: {remedy}.")
