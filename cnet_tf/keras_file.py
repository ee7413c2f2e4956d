"""Reads a `.keras` file of someone else: layers and numbers, no code."""

import json
import pathlib
import zipfile

import keras

from cnet_tf.architecture import check
from cnet_tf.lifted_layer import is_graph

# The description of a model; far above those of real ones.
_MOST_BYTES = 64 * 1024**2


class KerasFileError(ValueError):
    """A file is no model of ours to read; the message is one line."""


def read(path) -> keras.Model:
    """The functional or Sequential model of a `.keras` file.

    Args:
        path: Written by `model.save("my.keras")`.

    Raises:
        KerasFileError: no such file, another format, a subclassed model, a `Lambda`
            or another class that is neither of Keras nor of this package.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise KerasFileError(f"expected a .keras file. Received {path}: no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            if size > _MOST_BYTES:
                raise ValueError(f"its description has {size} bytes")
            config = json.loads(archive.read("config.json"))
        # How it was compiled is not asked for.
        check({k: v for k, v in config.items() if k != "compile_config"})
    except (zipfile.BadZipFile, KeyError) as error:
        raise KerasFileError(
            f"expected a .keras file. Received {path}, which is none: save the model "
            'with `model.save("my.keras")`.'
        ) from error
    except (ValueError, AttributeError, OSError, RecursionError) as error:
        raise KerasFileError(f"{path}: {_line(error)}") from error
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers do.
        raise KerasFileError(f"{path}: not readable: {_line(error)}") from error
    if not is_graph(model):
        raise KerasFileError(
            f"expected a functional or Sequential model. Received {path}: "
            f"{model.name!r}, a {type(model).__name__}: write it as a functional model."
        )
    if not model.built:
        raise KerasFileError(
            f"expected a built model. Received {path}: {model.name!r} without an "
            "input shape: begin it with `keras.Input`."
        )
    return model


def _line(error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
