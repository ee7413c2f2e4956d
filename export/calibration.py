"""Training images from which integer formats learn the ranges of their activations."""

import hashlib
from collections.abc import Iterator

import numpy as np

from trainers.data import ImageData
from trainers.data.positions import examples_at, spread
from trainers.errors import OptionError

# With fewer, the ranges fit those few images and clip others.
SMALLEST = 100
USUAL = 500


def calibration_images(data: ImageData, count: int | None) -> np.ndarray:
    """Picks training images from the whole split, which may be sorted by class.

    Args:
        data: The data of the run.
        count: At least `SMALLEST`. None: `USUAL`, or all if there are fewer.

    Returns:
        uint8 (count, H, W, C), the same for the same data.

    Raises:
        OptionError: there are too few images.
    """
    size = data.sizes["train"]
    if size < SMALLEST:
        raise OptionError(
            f"--images, --data_dir: expected at least {SMALLEST} images, as the "
            f"precision learns from them. Received {size} in {data.name!r}: give more, "
            "or choose another precision."
        )
    count = count or min(USUAL, size)
    if size < count:
        raise OptionError(
            f"--calibration_images: expected at most {size}, the number of images to "
            f"learn from in {data.name!r}. Received {count}: ask for fewer, but not "
            f"below {SMALLEST}."
        )
    chosen = examples_at(data.train, size, spread(size, count)).batch(count)
    return next(chosen.as_numpy_iterator())["image"]


def whole_batches(images: np.ndarray, batch: int | None) -> Iterator[np.ndarray]:
    """Splits images into equal batches; the last is filled up with its own images.

    Args:
        images: uint8 (B, H, W, C).
        batch: Batch size; None means 1.
    """
    size = batch or 1
    for start in range(0, len(images), size):
        part = images[start : start + size]
        yield np.resize(part, (size, *part.shape[1:]))


def sha256(images: np.ndarray) -> str:
    """Hashes the pixels of a calibration set, in order, to identify it."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
