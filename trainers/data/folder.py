"""Images in a folder, named `folder:/path`; see `folder_tree` for what is read."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from trainers.data import folder_tree, image_files
from trainers.data.class_names import shown
from trainers.data.errors import MissingData, refuse, tell
from trainers.data.image_files import Unreadable
from trainers.data.stored import Source, Stored, Wanted

PREFIX = "folder:"
_CHANNELS = 3
# Files are waited for, on drives of a network for long.
_THREADS = 16


def open_folder(wanted: Wanted) -> Stored:
    """The set in a folder; nothing is prepared, every file is looked at."""
    root = _root(wanted)
    tree = folder_tree.read(root)
    broken = {}
    if wanted.skip_broken:
        broken = _broken(tree)
        tree = tree.without(broken.keys())
        if broken:
            tell(f"{PREFIX}{shown(root)}: left out {_listed(broken, root)}")
    folder_tree.check(tree)
    for note in folder_tree.notes(tree):
        tell(f"{PREFIX}{shown(root)}: {note}")
    sizes = _each(image_files.size, _all(tree))
    if any(isinstance(size, Unreadable) for size in sizes.values()):
        _refuse_broken(tree)
    names = tree.class_names
    shapes = set(sizes.values())
    shape = (*(next(iter(shapes)) if len(shapes) == 1 else (None, None)), _CHANNELS)

    def read(split, positions):
        files = [tree.files[split][i] for i in positions]
        paths = [os.fsencode(file.path) for file in files]
        labels = [names.index(file.label) for file in files]
        examples = tf.data.Dataset.from_tensor_slices(
            (np.array(paths, object), np.array(labels, np.int64))
        )

        def load(path, label):
            image = tf.numpy_function(_pixels, [path], tf.uint8, stateful=False)
            image.set_shape(shape)
            return {"image": image, "label": label}

        return examples.map(load, tf.data.AUTOTUNE, deterministic=True)

    def labels(split):
        return np.array([names.index(file.label) for file in tree.files[split]])

    return Stored(
        name=PREFIX + root,
        splits={split: len(files) for split, files in tree.files.items()},
        image_shape=shape,
        class_names=names,
        keys=("image", "label"),
        read=read,
        labels=labels,
        files_sha256=_digest(tree),
        sizes=_sizes(sizes, root),
        broken=lambda: _listed(_broken(tree), root),
    )


def _root(wanted) -> str:
    """The absolute path of the folder, or of where it was moved to."""
    given = wanted.name.removeprefix(PREFIX)
    if not given:
        refuse("dataset", "a path, folder:/path", repr(wanted.name), "add the path")
    root = os.path.abspath(os.path.expanduser(given))
    if not wanted.data_dir:
        if not os.path.isdir(root):
            refuse(
                "dataset",
                "an existing folder of images",
                repr(wanted.name),
                "check the path, or name where it is now by data_dir",
                MissingData,
            )
        return root
    moved = os.path.abspath(os.path.expanduser(wanted.data_dir))
    # The folder itself, or the one that it lies in as sets of TFDS do.
    for path in (os.path.join(moved, os.path.basename(root)), moved):
        if folder_tree.is_set(path):
            return path
    refuse(
        "data_dir",
        f"the folder that {wanted.name!r} is in now",
        f"{wanted.data_dir!r}, which has no folder train",
        "check the path, or leave the option out",
        MissingData,
    )


def _pixels(path: bytes) -> np.ndarray:
    return image_files.pixels(os.fsdecode(path), _CHANNELS)


def _all(tree) -> list[str]:
    return [file.path for files in tree.files.values() for file in files]


def _each(function: Callable, paths) -> dict:
    """What a function of a path returns, or the Unreadable that it raises, by path."""

    def tried(path):
        try:
            return function(path)
        except Unreadable as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(tried, paths), strict=True))


def _broken(tree) -> dict[str, Unreadable]:
    """Reads all images; those that cannot be read."""

    def unreadable(path):
        image_files.pixels(path, _CHANNELS)

    found = _each(unreadable, _all(tree))
    return {path: error for path, error in found.items() if error is not None}


def _listed(broken, root) -> str:
    """The first of them and their number; empty if there are none."""
    if not broken:
        return ""
    names = (
        f"{shown(os.path.relpath(path, root))} ({error})"
        for path, error in sorted(broken.items())
    )
    return f"{len(broken)} that cannot be read: {folder_tree.few(names)}"


def _refuse_broken(tree):
    refuse_broken(PREFIX + shown(tree.root), _listed(_broken(tree), tree.root))


def refuse_broken(name: str, listed: str):
    """Refuses a set for images that cannot be read."""
    refuse(
        "dataset",
        "readable images",
        f"{name!r} with {listed}",
        "repair or remove them, or train with --skip_broken to leave them out",
    )


def _digest(tree) -> str:
    """Of the names and sizes of all files: changes that cost no reading to see."""
    lines = sorted(
        f"{file.name}\0{os.stat(file.path).st_size}\n"
        for files in tree.files.values()
        for file in files
    )
    text = "".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()


def _sizes(sizes, root) -> str:
    smallest, largest = (
        choice(sizes, key=lambda path: (sizes[path], path)) for choice in (min, max)
    )
    return (
        f"{len(set(sizes.values()))} sizes, from {_size(smallest, sizes, root)} to "
        f"{_size(largest, sizes, root)}"
    )


def _size(path, sizes, root) -> str:
    height, width = sizes[path]
    return f"{height} x {width} ({shown(os.path.relpath(path, root))})"


SOURCE = Source(lambda name: name.startswith(PREFIX), open_folder)
