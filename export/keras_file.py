"""Reads a classifier from a .keras file without running code from it.

A .keras file is a zip archive: config.json names the classes, model.weights.h5 holds
the weights. The names are checked before anything is built.
https://keras.io/guides/serialization_and_saving
"""

import json
import pathlib
import zipfile
from collections.abc import Iterator

import keras

import cnet_tf  # noqa: F401, registers its layers with Keras.
from cnet_tf.lifted_layer import is_graph

_PARTS = {"config.json", "model.weights.h5"}
# Packages whose classes may be built. Keras writes "keras.layers", "cnet_tf.resnet" ..
_PACKAGES = {"keras", "cnet_tf"}
_LAMBDAS = {"Lambda", "__lambda__"}


class ModelFileError(ValueError):
    """A .keras file cannot be exported; the message is one line."""


def read_model(path) -> keras.Model:
    """Reads a functional or Sequential classifier of one input, in safe mode.

    Args:
        path: A .keras file.

    Returns:
        The built, uncompiled model: (batch, ..) to one output (batch, classes), every
        dimension but the batch fixed.

    Raises:
        ModelFileError: no such file, no .keras file, Lambda layers, classes of other
            packages than Keras and cnet_tf, a subclassed model, several inputs or
            outputs, a free dimension, a fixed batch, or an output of another rank.
    """
    path = pathlib.Path(path)
    _check_classes(_config(path), path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    # A hand-edited config may break anything.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise _refused(
            "a .keras file that Keras can read",
            f"{str(path)!r}: {type(error).__name__}: {reason}",
            f"save it again with Keras {keras.__version__}",
        ) from error
    _check_model(model)
    return model


def _config(path) -> dict:
    """What config.json of the archive says."""
    expected, save = "a .keras file", "save it with model.save('my.keras')"
    if not path.exists():
        raise _refused(expected, f"{str(path)!r}, which does not exist", "see its path")
    try:
        with zipfile.ZipFile(path) as archive:
            missing = _PARTS.difference(archive.namelist())
            if missing:
                raise ValueError(f"it has no {', '.join(sorted(missing))}")
            config = json.loads(archive.read("config.json"))
            if not isinstance(config, dict):
                raise ValueError("its config.json is no dict")
            return config
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise _refused(expected, f"{str(path)!r}: {reason}", save) from error


def _entries(config) -> Iterator[dict]:
    """Every serialized object in a config, nested ones too."""
    stack = [config]
    while stack:
        found = stack.pop()
        if isinstance(found, list):
            stack += found
        elif isinstance(found, dict):
            if "class_name" in found:
                yield found
            # Losses and metrics are not exported.
            stack += [part for key, part in found.items() if key != "compile_config"]


def _check_classes(config, path) -> None:
    """Refuses Lambda layers, and classes of packages that are not ours or Keras'."""
    names = [_label(x) for x in _entries(config) if x["class_name"] == "Lambda"]
    if not names and any(str(x["class_name"]) in _LAMBDAS for x in _entries(config)):
        names = ["a lambda function"]
    if names:
        raise _refused(
            "a model without Lambda layers, which hold code",
            f"{', '.join(sorted(names))} in {str(path)!r}",
            "use layers of Keras, such as Rescaling, or keras.ops",
        )
    if foreign := sorted({_label(x) for x in _entries(config) if _is_foreign(x)}):
        raise _refused(
            "a model of layers of Keras and cnet_tf",
            f"{', '.join(foreign)} in {str(path)!r}",
            "rebuild it of these as a functional or Sequential model",
        )


def _is_foreign(entry) -> bool:
    if "module" not in entry and str(entry["class_name"]).startswith("__"):
        return False  # Data, such as "__keras_tensor__".
    module = str(entry.get("module")).partition(".")[0]
    known = keras.saving.get_custom_objects()
    name = str(entry.get("registered_name"))
    return module not in _PACKAGES or (module == "cnet_tf" and name not in known)


def _label(entry) -> str:
    """`<class>`, with the name of the layer if it has one."""
    config = entry.get("config")
    kind = entry["class_name"]
    if isinstance(config, str):  # A function, by its name.
        return f"{kind} {config!r}"
    name = config.get("name") if isinstance(config, dict) else None
    return f"{kind} {name!r}" if isinstance(name, str) else str(kind)


def _check_model(model) -> None:
    """Refuses what cannot be exported as a classifier of batches of one input."""
    if not is_graph(model):
        raise _refused(
            "a functional or Sequential model",
            f"{getattr(model, 'name', model)!r}, a {type(model).__name__}",
            "write it as a functional model",
        )
    if not model.built or not model.inputs:
        raise _refused(
            "a built model",
            f"{model.name!r}, which has not seen an input",
            "start it with a keras.Input and save it again",
        )
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


def _refused(expected, received, remedy) -> ModelFileError:
    return ModelFileError(
        f"--model: expected {expected}. Received {received}: {remedy}."
    )
