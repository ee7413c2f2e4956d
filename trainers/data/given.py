"""Reads unlabelled images from any folder, in the form that a net takes."""

import os

import numpy as np
import tensorflow as tf

from trainers.data import folder_tree, image_files, many_files
from trainers.data.class_names import shown
from trainers.data.errors import refuse
from trainers.data.images import resized
from trainers.data.positions import spread


def images_of(folder: str, shape, limit: int) -> np.ndarray:
    """Reads the images in a folder, at any depth, and resizes them as for training.

    Args:
        folder: Path, as given by `--images`.
        shape: (height, width, channels) of the result.
        limit: Most images to read, taken evenly from all of them in order of name.

    Returns:
        uint8 (B, *shape), B at least 1.

    Raises:
        DataError: no such folder, no images in it, an unreadable image, or a number of
            channels that images do not have.
    """
    *size, channels = shape
    if channels not in image_files.MODES:
        refuse(
            "images",
            "a net for images of 1 or 3 channels",
            f"one for {channels}",
            "leave the option out",
        )
    root = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(root):
        refuse("images", "a folder of images", repr(folder), "check the path")
    paths = folder_tree.images_below(root)
    if not paths:
        refuse("images", "images in the folder", repr(folder), "add some")
    count = min(limit, len(paths))
    paths = [paths[i] for i in spread(len(paths), count)]

    def pixels(path):
        return resized(tf.constant(image_files.pixels(path, channels)), size).numpy()

    found = many_files.each(pixels, paths)
    broken = {p: e for p, e in found.items() if isinstance(e, image_files.Unreadable)}
    if broken:
        refuse(
            "images",
            "readable images",
            f"{shown(folder)!r} with {many_files.listed(broken, root)}",
            "repair or remove them",
        )
    return np.stack(list(found.values()))
