"""Image classification data: loading, splits, statistics.

data = load("cifar10", data_dir="/data/tfds")
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from trainers.data.errors import refuse
from trainers.data.sources import open_set
from trainers.data.stored import Stored

# Decoded images are kept in memory up to this size, and so is a shuffle buffer.
MEMORY_BYTES = 2 * 1024**3


@dataclasses.dataclass(frozen=True)
class ImageData:
    """An image classification set, un-augmented and in a fixed order.

    Elements of each data set are `{"index": int64, "image": uint8 (H, W, C), "label":
    int64}`, where `index` is the position in the split that the example is stored in.

    Attributes:
        name: The name it was loaded by.
        train: Training examples, `index` 0..n-1. In memory when the whole set fits.
        validation: Examples held out of the end of the train split, or None.
        test: Test examples.
        sizes: Examples in each of `train`, `validation` (0 when None) and `test`.
        image_shape: (height, width, channels).
        class_names: One name per label.
        mean: Per channel, of x/255 over `train`.
        std: Per channel, of x/255 over `train`; 1 for a constant channel.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    sizes: dict[str, int]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(
    dataset: str,
    data_dir: str | None = None,
    validation_fraction: float = 0.1,
    image_size: int | tuple[int, int] | None = None,
) -> ImageData:
    """Loads an image classification set.

    The test split is the set's `test`, or its `validation` where it has no `test`.

    Args:
        dataset: `digits`, a TFDS name such as `cifar10`, or `folder:/path` for images
            at /path/<split>/<label>/*.png or jpg with splits `train` and `test`.
        data_dir: Where TFDS keeps prepared sets. Default: the environment's
            TFDS_DATA_DIR, then ~/tensorflow_datasets. A set not prepared there is
            prepared there, by a download unless it is `digits`.
        validation_fraction: Part of `train` to hold out, in [0, 1). Default: 0.1.
        image_size: Side, or (height, width), to resize to. Default: no resizing, which
            needs a set whose images have one shape.

    Returns:
        An `ImageData`.

    Raises:
        DataError: If an argument is out of range, the set is unknown, cannot be
            prepared, is no image classification set, or has images of unknown shape.
    """
    if not 0 <= validation_fraction < 1:
        refuse(
            "validation_fraction",
            "a number in [0, 1)",
            repr(validation_fraction),
            "use 0 for no validation split",
        )
    size = _checked_size(image_size)
    stored = open_set(dataset, data_dir)
    shape = (*(size or stored.image_shape[:2]), stored.image_shape[-1])
    if None in shape:
        refuse(
            "image_size",
            f"a size, as the images of {dataset!r} differ in shape",
            repr(image_size),
            "give one, for example 32 or (32, 48)",
        )
    ranges = _ranges(dataset, stored, validation_fraction)
    sizes = {part: stop - start for part, (_, start, stop) in ranges.items()}
    fits = sum(sizes.values()) * math.prod(shape) <= MEMORY_BYTES
    try:
        parts = {}
        for part, (split, start, stop) in ranges.items():
            if stop > start:
                examples = _read(stored, split, start, stop, size)
                parts[part] = _in_memory(examples) if fits else examples
        mean, std = _statistics(parts["train"])
    except tf.errors.OpError as error:
        refuse(
            "dataset",
            "readable images",
            f"{dataset!r}: {error.message}",
            "repair or remove them",
        )
    return ImageData(
        name=dataset,
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        sizes=sizes,
        image_shape=shape,
        class_names=stored.class_names,
        mean=mean,
        std=std,
    )


def load_as_trained(description: dict, data_dir: str | None = None) -> ImageData:
    """The data a net was trained on, with the normalisation it was trained with.

    Args:
        description: The `"data"` of a checkpoint's metadata.
        data_dir: As for `load`.

    Raises:
        DataError: as for `load`, or the classes are no longer those of the net.
    """
    data = load(description["name"], data_dir, 0.0, description.get("image_size"))
    expected = description["class_names"]
    if list(data.class_names) != list(expected):
        refuse(
            "data_dir",
            f"{description['name']!r} with the classes of the net, {_brief(expected)}",
            _brief(data.class_names),
            "name the folder of the data that the net was trained on, as it was then",
        )
    return dataclasses.replace(data, mean=description["mean"], std=description["std"])


def _brief(names) -> str:
    return f"{len(names)}: {', '.join(list(names)[:3])}, .."


def _ranges(dataset: str, stored: Stored, validation_fraction: float) -> dict:
    """(stored split, start, stop) of `train`, `validation` and `test`."""
    test_split = "test" if "test" in stored.splits else "validation"
    for split in ("train", test_split):
        if not stored.splits.get(split):
            refuse(
                "dataset",
                "a set with examples in splits train and test",
                f"{dataset!r} with {sorted(s for s, n in stored.splits.items() if n)}",
                "add the missing split or choose another set",
            )
    count = stored.splits["train"]
    held_out = round(count * validation_fraction)
    kept = count - held_out
    if not kept or (validation_fraction and not held_out):
        refuse(
            "validation_fraction",
            f"one that leaves both parts of {count} examples non-empty",
            repr(validation_fraction),
            "choose another fraction, or 0",
        )
    return {
        "train": ("train", 0, kept),
        "validation": ("train", kept, count),
        "test": (test_split, 0, stored.splits[test_split]),
    }


def _read(stored: Stored, split: str, start: int, stop: int, size) -> tf.data.Dataset:
    """Examples start..stop-1 of a stored split, in stored order, resized."""
    image_key, label_key = stored.keys

    def select(index, example):
        image = example[image_key]
        if size is not None:
            image = tf.image.resize(image, size, antialias=True)
            image = tf.saturate_cast(tf.round(image), tf.uint8)
        return {"index": index, "image": image, "label": example[label_key]}

    return (
        stored.read(split, start, stop)
        .enumerate(start)
        .map(select, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )


def _in_memory(dataset: tf.data.Dataset) -> tf.data.Dataset:
    # Not `Dataset.cache`, which reads at first use: an unreadable test image should
    # be found before the training, not after it.
    chunks = list(dataset.batch(1024).as_numpy_iterator())
    arrays = {
        key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]
    }
    with tf.device("CPU"):
        return tf.data.Dataset.from_tensor_slices(arrays)


def _statistics(train: tf.data.Dataset):
    """Mean and standard deviation of x/255, per channel, from exact integer sums."""

    def sums(batch):
        x = tf.cast(batch["image"], tf.int64)
        count = tf.size(x[..., 0], tf.int64)
        return count, tf.reduce_sum(x, [0, 1, 2]), tf.reduce_sum(x * x, [0, 1, 2])

    count, total, squares = 0, 0, 0
    for n, s, q in train.batch(256).map(sums, tf.data.AUTOTUNE).as_numpy_iterator():
        count, total, squares = count + int(n), total + s, squares + q
    mean = tuple(int(s) / (255 * count) for s in total)
    # n q - s^2 in Python's integers: nothing cancels, nothing overflows.
    variance = (
        (count * int(q) - int(s) ** 2) / (255 * count) ** 2
        for s, q in zip(total, squares, strict=True)
    )
    # A constant channel has nothing to scale: only its mean is taken off.
    return mean, tuple(v**0.5 or 1.0 for v in variance)


def _checked_size(image_size) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(side < 1 for side in size):
        refuse(
            "image_size",
            "a side or (height, width), at least 1",
            repr(image_size),
            "give another",
        )
    return size
