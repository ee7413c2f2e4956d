"""Images in a folder, named `folder:/path`; see `folder_tree` for what is read."""

import hashlib
import os

import numpy as np
import tensorflow as tf

from trainers.data import folder_tree, image_files, many_files
from trainers.data.class_names import shown
from trainers.data.errors import MissingData, refuse, tell
from trainers.data.image_files import Unreadable
from trainers.data.stored import Source, Stored, Wanted

PREFIX = "folder:"
_CHANNELS = 3


def open_folder(wanted: Wanted) -> Stored:
    """Opens the set in a folder; prepares nothing, looks at every file."""
    root = _root(wanted)
    tree = folder_tree.read(root)
    broken = {}
    if wanted.skip_broken:
        broken = many_files.broken(_all(tree))
        tree = tree.without(broken.keys())
        if broken:
            tell(f"{PREFIX}{shown(root)}: left out {many_files.listed(broken, root)}")
    folder_tree.check(tree)
    for note in folder_tree.notes(tree):
        tell(f"{PREFIX}{shown(root)}: {note}")
    sizes = many_files.each(image_files.size, _all(tree))
    if any(isinstance(size, Unreadable) for size in sizes.values()):
        _refuse_broken(tree)
    names = tree.class_names
    number = {name: i for i, name in enumerate(names)}
    shapes = set(sizes.values())
    shape = (*(next(iter(shapes)) if len(shapes) == 1 else (None, None)), _CHANNELS)

    def read(split, positions):
        files = [tree.files[split][i] for i in positions]
        paths = [os.fsencode(file.path) for file in files]
        labels = [number[file.label] for file in files]
        examples = tf.data.Dataset.from_tensor_slices(
            (np.array(paths, object), np.array(labels, np.int64))
        )

        def load(path, label):
            image = tf.numpy_function(_pixels, [path], tf.uint8, stateful=False)
            image.set_shape(shape)
            return {"image": image, "label": label}

        return examples.map(load, tf.data.AUTOTUNE, deterministic=True)

    def labels(split):
        return np.array([number[file.label] for file in tree.files[split]])

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
        broken=lambda: _listed(tree),
    )


def _root(wanted) -> str:
    """Returns the absolute path of the folder, or of where it was moved to."""
    given = wanted.name.removeprefix(PREFIX)
    if not given:
        refuse("dataset", "a path, folder:/path", repr(wanted.name), "add the path")
    root = os.path.abspath(os.path.expanduser(given))
    if wanted.data_dir:
        moved = os.path.abspath(os.path.expanduser(wanted.data_dir))
        # Inside it, like sets of TFDS, or that folder itself.
        for path in (os.path.join(moved, os.path.basename(root)), moved):
            if folder_tree.is_set(path):
                return path
        place = f"{wanted.name!r} is not in {wanted.data_dir!r}"
        if os.path.isdir(root):
            tell(f"{place}, which has no folder train: reading the path in its name")
    if os.path.isdir(root):
        return root
    refuse(
        "data_dir" if wanted.data_dir else "dataset",
        "an existing folder of images",
        repr(wanted.name) + (f", and {place}" if wanted.data_dir else ""),
        "check the path, or say where it is now with --data_dir",
        MissingData,
    )


def _pixels(path: bytes) -> np.ndarray:
    return image_files.pixels(os.fsdecode(path), _CHANNELS)


def _all(tree) -> list[str]:
    return [file.path for files in tree.files.values() for file in files]


def _listed(tree) -> str:
    """Lists its unreadable images, in words."""
    return many_files.listed(many_files.broken(_all(tree)), tree.root)


def _refuse_broken(tree):
    refuse_broken(
        PREFIX + shown(tree.root),
        _listed(tree),
    )


def refuse_broken(name: str, listed: str):
    """Refuses a set because of unreadable images."""
    refuse(
        "dataset",
        "readable images",
        f"{name!r} with {listed}",
        "repair or remove them, or train with --skip_broken to leave them out",
    )


def _digest(tree) -> str:
    """Hashes the names and sizes of all files: shows changes without reading files."""
    lines = sorted(
        f"{file.name}\0{os.path.getsize(file.path)}\n"
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
