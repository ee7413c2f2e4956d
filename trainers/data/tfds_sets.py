"""Opens sets of TFDS by name where they are prepared, else prepares them.

Whatever is wrong with a set becomes a one-line error here.
"""

import contextlib
import os
import re
import socket
import stat
import urllib.parse
import urllib.request

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from trainers.data.errors import MissingData, refuse, tell
from trainers.data.positions import examples_at
from trainers.data.stored import Source, Stored, UnknownSetError, Wanted

# Names that a net may give. Other names of TFDS refer to hosts, such as
# huggingface:set, or hold arguments of builders.
_NAME = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)?(:[0-9.]+)?")
# Images of a split on which is decided whether it has labels.
_LOOKED_AT = 100


def open_set(wanted: Wanted) -> Stored:
    """Opens a set where it is prepared; otherwise prepares it, if that is wanted.

    Looks in `wanted.data_dir` or, without one, where it was found before and in the
    default folders.

    Raises:
        MissingData: it is not prepared there and must not be.
    """
    name = wanted.name
    if wanted.skip_broken:
        refuse(
            "skip_broken",
            "a set folder:/path, whose files can be left out",
            repr(name),
            "leave the option out",
        )
    if not wanted.prepare and not _NAME.fullmatch(name):
        raise UnknownSetError(name)
    own = [wanted.data_dir] if wanted.data_dir else _default_folders()
    before = [] if wanted.data_dir else _local(wanted.found_in)
    folders = before + own
    builders = [_registered(name, folder) for folder in folders]
    for builder, folder in zip(builders, folders, strict=True):
        if builder.is_prepared():
            return stored(name, builder, folder)
    if not wanted.prepare:
        refuse(
            "data_dir",
            f"a folder that holds {name!r} prepared",
            " and ".join(map(repr, folders)),
            f"name another, or prepare it there with `tfds build {name}`: reading a "
            "net never downloads data",
            MissingData,
        )
    checked_features(name, builders[0])  # Before a long download, not after it.
    target = next((f for f in own if _writable(f)), own[-1])
    return stored(name, _prepare(name, target), target)


def stored(name: str, builder, folder: str) -> Stored:
    """Turns a prepared builder into a `Stored`.

    Args:
        name: The name by which TFDS knows it.
        builder: The prepared builder.
        folder: The folder that it is prepared in.
    """
    image, label = checked_features(name, builder)
    image_key, label_key = keys = feature_keys(builder)
    # One file at a time: positions are then those of the split as a whole.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)

    def read(split, positions):
        start, stop = positions[0], positions[-1] + 1
        name = f"{split}[{start}:{stop}]"
        examples = builder.as_dataset(split=name, read_config=config)
        if len(positions) == stop - start:
            return examples
        return examples_at(examples, stop - start, positions - start)

    def labels(split):
        undecoded = {image_key: tfds.decode.SkipDecoding()}
        examples = builder.as_dataset(
            split=split, read_config=config, decoders=undecoded
        )
        return np.array(
            list(examples.map(lambda e: e[label_key]).as_numpy_iterator()), np.int64
        )

    splits = {split: info.num_examples for split, info in builder.info.splits.items()}
    for split in sorted({"validation", "test"} & splits.keys()):
        # By convention, images whose labels are kept secret have the label -1.
        first = min(splits[split], _LOOKED_AT)
        with contextlib.suppress(tf.errors.OpError):  # Told where images are read.
            if first and np.all(labels(f"{split}[:{first}]") < 0):
                tell(f"{name}: images of its split {split!r} have no labels: left out")
                del splits[split]
    return Stored(
        name=name,
        splits=splits,
        image_shape=image.shape,
        class_names=tuple(label.names),
        keys=keys,
        read=read,
        labels=labels,
        found_in=os.path.abspath(os.path.expanduser(folder)),
    )


def _local(folder: str | None) -> list[str]:
    """Returns the folder, unless it is a network address: TFDS would look there."""
    return [folder] if folder and "://" not in folder else []


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
    """Returns the names of the image and the label feature."""
    keys = (builder.info.supervised_keys or ())[:2]  # A third would be weights.
    plain = len(keys) == 2 and all(isinstance(key, str) for key in keys)
    return keys if plain else ("image", "label")


def checked_features(name: str, builder):
    """Returns the image and the label feature of a set, after checking their types."""
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
