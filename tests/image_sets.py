"""What the tests of data and of batches compare image sets with."""

import itertools

import numpy as np
from PIL import Image

from trainers.data.batches import train_batches


def batch_list(*args, **kwargs):
    return list(train_batches(*args, **kwargs).as_numpy_iterator())


def gather(dataset, key):
    return next(dataset.batch(10_000).as_numpy_iterator())[key]


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for (images, labels), (images_again, labels_again) in zip(
        first, second, strict=True
    ):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels, labels_again)


def is_one_line(error):
    return "\n" not in str(error.value)


def write_image(path, seed=0, shape=(6, 7, 3), **settings):
    """Writes random pixels as the format that the suffix names; returns them."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path, **settings)
    return pixels


def write_set(root, splits=("train", "test"), classes=("cat", "dog"), count=4, **how):
    """Writes PNGs of different pixels as <root>/<split>/<class>/<number>.png."""
    for i, (split, label, n) in enumerate(
        itertools.product(splits, classes, range(count))
    ):
        write_image(root / split / label / f"{n}.png", i, **how)
    return root
