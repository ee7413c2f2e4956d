"""Where images come from: TFDS sets by name, the shipped digits, folders of images.

Everything that can be wrong with a data set is said here, in one line.
"""

import difflib
import os
import socket
import stat
import urllib.parse
import urllib.request
from typing import NoReturn

import numpy as np
import tensorflow_datasets as tfds

from trainers import digits

ALIASES = {"digits": digits.SklearnDigits.name}
FOLDER_PREFIX = "folder:"


class DataError(ValueError):
    """Data that cannot be had as asked for. The message is one line."""


def find_builder(name: str, data_dir: str | None):
    """The builder of a prepared set; prepares it if need be."""
    if name.startswith(FOLDER_PREFIX):
        path = os.path.expanduser(name.removeprefix(FOLDER_PREFIX))
        if not os.path.isdir(path):
            refuse(
                "dataset", "an existing folder of images", repr(name), "check the path"
            )
        return tfds.ImageFolder(path)
    folders = [data_dir] if data_dir else _default_folders()
    builders = [_registered(name, folder) for folder in folders]
    for builder in builders:
        if builder.is_prepared():
            return builder
    checked_features(name, builders[0])  # Before a long download, not after it.
    target = next((f for f in folders if _writable(f)), folders[-1])
    return _prepare(name, target)


def _default_folders() -> list[str]:
    # Read here rather than by TFDS, which reads it once, when it is imported.
    environment = os.environ.get("TFDS_DATA_DIR")
    home = os.path.join(os.path.expanduser("~"), "tensorflow_datasets")
    return [environment, home] if environment else [home]


def _writable(folder: str) -> bool:
    while not os.path.exists(folder):
        folder = os.path.dirname(os.path.abspath(folder))
    # The mode as well: root may write everywhere, but a shared folder that its owner
    # made read-only is not the place for new data.
    return os.access(folder, os.W_OK) and bool(os.stat(folder).st_mode & stat.S_IWUSR)


def _registered(name: str, folder: str):
    try:
        return tfds.builder(ALIASES.get(name, name), data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        known = [*ALIASES, *tfds.list_builders(with_community_datasets=False)]
        close = difflib.get_close_matches(name, known, n=3)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else "see tfds.list_builders()"
        )
        refuse("dataset", "digits, a TFDS name or folder:/path", repr(name), hint)
    except Exception as error:  # A builder's own code may raise anything.
        refuse("dataset", "a set that TFDS can build", f"{name!r}: {error}", "see TFDS")


def _prepare(name: str, folder: str):
    builder = _registered(name, folder)
    try:
        _check_hosts(builder, folder)
        builder.download_and_prepare()
    except Exception as error:  # Network, disk, checksum, missing package, ...
        # TFDS renames a finished folder into place. If another process was first,
        # that fails, and the set is there.
        builder = _registered(name, folder)
        if not builder.is_prepared():
            refuse(
                "data_dir",
                f"a folder that holds {name!r} prepared, or one to prepare it in",
                f"{folder!r}: {type(error).__name__}: {error}",
                "prepare it where there is a network and set data_dir or TFDS_DATA_DIR",
            )
    return builder


def _check_hosts(builder, folder: str) -> None:
    """Fails at once when offline, where TFDS would retry for minutes.

    Raises:
      OSError: If none of the hosts to download from has an address.
    """
    hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos or ()}
    already = os.path.isdir(os.path.join(folder, "downloads", builder.name))
    if not hosts or already or urllib.request.getproxies():
        return
    for host in hosts:
        try:
            socket.getaddrinfo(host, None)
            return
        except OSError as error:
            failure = error
    raise failure


def feature_keys(builder) -> tuple[str, str]:
    """The names of the image and the label feature."""
    keys = (builder.info.supervised_keys or ())[:2]  # A third would be weights.
    plain = len(keys) == 2 and all(isinstance(key, str) for key in keys)
    return keys if plain else ("image", "label")


def checked_features(name: str, builder):
    """The image and the label feature of a set."""
    keys = feature_keys(builder)
    features = builder.info.features
    image, label = (features[key] if key in features else None for key in keys)
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        refuse(
            "dataset", "a set of 8-bit images", f"{name!r} with {keys}", "choose one"
        )
    if not isinstance(label, tfds.features.ClassLabel):
        refuse(
            "dataset", "a set with class labels", f"{name!r} with {keys}", "choose one"
        )
    return image, label


def refuse(argument: str, expected: str, received: str, remedy: str) -> NoReturn:
    """Raises a DataError of one line."""
    message = f"{argument}: expected {expected}; received {received}; {remedy}"
    raise DataError(" ".join(message.split())) from None
