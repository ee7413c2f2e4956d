"""What the tests of data and of batches compare image sets with."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from trainers import data
from trainers.data.batches import train_batches
from trainers.data.errors import DataError


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


def load_folder(root, **how):
    how = {"validation_fraction": 0, **how}
    return data.load(f"folder:{root}", **how)


def refusal(function, *args, error=DataError, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    assert is_one_line(caught)
    return str(caught.value)


def described(found):
    """What a net remembers of its data, as it is read back from the disk."""
    return json.loads(json.dumps(found.description))


def same_images(a, b):
    for split in ("train", "test"):
        for key in ("index", "image", "label"):
            np.testing.assert_array_equal(
                gather(getattr(a, split), key), gather(getattr(b, split), key)
            )
