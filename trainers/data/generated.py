"""Generates images where there is no data set.

The first few are the sample images of the package, if a net takes 1 or 3 channels.
"""

import numpy as np
import tensorflow as tf

from cnet_tf.samples import CHANNELS, sample_images
from trainers.data.images import ImageData
from trainers.data.untuned import untuned

GENERATED = "generated images"
_COUNT = 1000


def generated(description: dict) -> ImageData:
    """Returns unlabelled images, always the same: samples, then patches of all scales.

    Args:
        description: `image_shape`, `class_names`, `mean` and `std`.
    """
    height, width, channels = description["image_shape"]
    rng = np.random.default_rng(0)
    images = np.empty((_COUNT, height, width, channels), np.uint8)
    for i, image in enumerate(images):
        # Enlarged grids of 1, 2, 4, .. patches per side: from plain colours to noise.
        side = min(2 ** (i % 8), height, width)
        patches = rng.integers(0, 256, (side, side, channels), np.uint8)
        rows, columns = (np.arange(n) * side // n for n in (height, width))
        image[:] = patches[rows][:, columns]
    if channels in CHANNELS:
        samples = list(sample_images((height, width, channels)).values())
        images[: len(samples)] = samples
    return unlabelled(images, description)


def unlabelled(images: np.ndarray, description: dict) -> ImageData:
    """Wraps unlabelled images as a data set, both for training and for testing.

    Args:
        images: uint8 (B, H, W, C).
        description: `name`, `class_names`, `mean` and `std`.
    """
    data = untuned(tf.data.Dataset.from_tensor_slices({"image": images}))
    return ImageData(
        name=description["name"],
        train=data,
        validation=None,
        test=data,
        sizes={"train": len(images), "validation": 0, "test": len(images)},
        image_shape=images.shape[1:],
        class_names=tuple(description["class_names"]),
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
    )
