"""Reads an untrusted `.keras` file: layers and numbers, no code.

The sizes that its archive declares are compared with the model that it describes before
anything is unpacked: a few bytes of a zip archive, or of HDF5 in it, may stand for
gigabytes.
"""

import io
import pathlib
import zipfile

import h5py
import keras

from cnet_tf import plain_file
from cnet_tf.architecture import numbers
from cnet_tf.config_check import check
from cnet_tf.line_error import LineError
from cnet_tf.model_graph import is_graph

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# Adam with averages has four copies of the weights; names and groups of HDF5 take some
# kB per layer.
_COPIES, _BYTES = 4, 8
_MORE_BYTES = 32 * 1024**2
# Limits the members of the archive, and the groups and arrays of the weights.
_MOST_PARTS = 100_000


class KerasFileError(LineError):
    """A file holds no model that can be read here; the message is one line."""


def read(path) -> keras.Model:
    """Reads the functional or Sequential model of a `.keras` file.

    Args:
        path: Written by `model.save("my.keras")`; may be a link.

    Raises:
        KerasFileError: no such file, another format, a subclassed model, a `Lambda`
            layer, a class that is neither from Keras nor from this package, a number
            out of bounds, or more weights than the model has.
    """
    path = pathlib.Path(path)
    try:
        with plain_file.opened(path, follow=True) as file:
            return _read(path, file)
    except plain_file.PlainFileError as error:
        if error.missing:
            raise KerasFileError(
                f"expected a .keras file. Received {str(path)!r}, which does not "
                "exist: check the path."
            ) from None
        raise _no_keras_file(path, error) from None


def _read(path, file):
    config = _config(path, file)
    # How the model was compiled does not matter.
    config = {key: value for key, value in config.items() if key != "compile_config"}
    try:
        check(config)
    except ValueError as error:
        raise KerasFileError(_line(error)) from error
    try:
        _check_weights(file, numbers(config))
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


def _config(path, file) -> dict:
    """Returns the config.json of the archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            missing = {_CONFIG, _WEIGHTS}.difference(names)
            if missing:
                raise ValueError(f"it has no {', '.join(sorted(missing))}")
            if len(names) > _MOST_PARTS or len(set(names)) < len(names):
                raise ValueError("it has duplicate files, or too many")
            content = _member(archive, _CONFIG, plain_file.MOST_BYTES)
        config = plain_file.parse_json(content, _CONFIG)
        if not isinstance(config, dict):
            raise ValueError("its config.json is not a dict")
        return config
    except _DAMAGE as error:
        raise _no_keras_file(path, error) from error


def _check_weights(file, count):
    """Refuses a file with more bytes than a model of `count` numbers can have.

    Raises:
        ValueError: too many bytes, or too many groups and arrays.
    """
    most = _COPIES * _BYTES * count + _MORE_BYTES
    with zipfile.ZipFile(file) as archive:
        # Keras unpacks assets to disk.
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > most + plain_file.MOST_BYTES:
            raise ValueError(f"expected at most {most:,} bytes. Received {unpacked:,}")
        content = _member(archive, _WEIGHTS, most)
    parts, total = 0, 0

    def visit(name, part):
        nonlocal parts, total
        parts += 1
        total += getattr(part, "nbytes", 0)
        if parts > _MOST_PARTS or total > most:
            raise ValueError(f"expected weights of at most {most:,} bytes")

    with h5py.File(io.BytesIO(content), "r") as weights:
        weights.visititems(visit)


# What a damaged archive raises.
_DAMAGE = (OSError, ValueError, RuntimeError, zipfile.BadZipFile, NotImplementedError)


def _member(archive, name, most) -> bytes:
    """Returns the content of a member; unpacks no more than it is allowed to have."""
    with archive.open(name) as member:
        content = member.read(most + 1)
    if len(content) > most:
        raise ValueError(f"expected a {name} of at most {most:,} bytes. Received more")
    return content


def _no_keras_file(path, error) -> KerasFileError:
    return KerasFileError(
        f"expected a .keras file. Received {str(path)!r}: {error}: save it with "
        "model.save('my.keras')."
    )


def _line(error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
