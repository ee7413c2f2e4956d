"""Reads a `.keras` file of someone else: layers and numbers, no code."""

import json
import pathlib
import zipfile

import keras

from cnet_tf.architecture import check
from cnet_tf.lifted_layer import is_graph

# The description of a model; far above those of real ones.
_PARTS = {"config.json", "model.weights.h5"}
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
    config = _config(path)
    try:
        # How it was compiled is not asked for.
        check({key: value for key, value in config.items() if key != "compile_config"})
    except (ValueError, RecursionError) as error:
        raise KerasFileError(_line(error)) from error
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # A hand-edited config may break anything.
        raise KerasFileError(
            f"expected a .keras file that Keras can read. Received {str(path)!r}: "
            f"{type(error).__name__}: {_line(error)}: save it again with Keras "
            f"{keras.__version__}."
        ) from error
    if not is_graph(model):
        raise KerasFileError(
            f"expected a functional or Sequential model. Received {model.name!r}, a "
            f"{type(model).__name__}: write it as a functional model."
        )
    if not model.built or not model.inputs:
        raise KerasFileError(
            f"expected a built model. Received {model.name!r}, which has not seen an "
            "input: start it with a keras.Input and save it again."
        )
    return model


def _config(path) -> dict:
    """What config.json of the archive says."""
    if not path.exists():
        raise KerasFileError(
            f"expected a .keras file. Received {str(path)!r}, which does not exist: "
            "see its path."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            missing = _PARTS.difference(archive.namelist())
            if missing:
                raise ValueError(f"it has no {', '.join(sorted(missing))}")
            size = archive.getinfo("config.json").file_size
            if size > _MOST_BYTES:
                raise ValueError(f"its config.json has {size} bytes")
            config = json.loads(archive.read("config.json"))
            if not isinstance(config, dict):
                raise ValueError("its config.json is no dict")
            return config
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise KerasFileError(
            f"expected a .keras file. Received {str(path)!r}: "
            f"{' '.join(str(error).split())}: save it with model.save('my.keras')."
        ) from error


def _line(error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
