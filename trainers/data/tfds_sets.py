"""Sets of TFDS by name: found where they are prepared, else prepared.

What can be wrong with such a set is said here, in one line.
"""

import os
import socket
import stat
import urllib.parse
import urllib.request

import numpy as np
import tensorflow_datasets as tfds

from trainers.data.errors import refuse
from trainers.data.stored import Source, Stored, UnknownSetError


def open_set(name: str, data_dir: str | None) -> Stored:
    """Opens a set where it is prepared; prepares it otherwise.

    Args:
        name: As TFDS knows it.
        data_dir: Where it is or shall be. Default: the folders of the environment.
    """
    folders = [data_dir] if data_dir else _default_folders()
    builders = [_registered(name, folder) for folder in folders]
    for builder in builders:
        if builder.is_prepared():
            return stored(name, builder)
    checked_features(name, builders[0])  # Before a long download, not after it.
    target = next((f for f in folders if _writable(f)), folders[-1])
    return stored(name, _prepare(name, target))


def stored(name: str, builder, read=None) -> Stored:
    """A prepared builder as a `Stored`.

    Args:
        name: For messages.
        builder: Prepared.
        read: See `Stored`. Default: by slices of a split.
    """
    image, label = checked_features(name, builder)

    def by_slices(split, start, stop):
        # One file at a time: positions are then those of the split as a whole.
        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        return builder.as_dataset(split=f"{split}[{start}:{stop}]", read_config=config)

    return Stored(
        {split: info.num_examples for split, info in builder.info.splits.items()},
        image.shape,
        tuple(label.names),
        feature_keys(builder),
        read or by_slices,
    )


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
        return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        raise UnknownSetError(name) from error
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
        OSError: none of the hosts to download from has an address.
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


SOURCE = Source(
    lambda name: True,
    open_set,
    lambda: tfds.list_builders(with_community_datasets=False),
)
