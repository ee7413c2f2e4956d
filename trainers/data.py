"""Image classification data: loading, splits, order, augmentation, normalisation.

    data = load("cifar10", data_dir="/data/tfds")
    for epoch in range(epochs):
        for images, labels in train_batches(data, 128, seed, epoch, "crop_flip"):
            ...

Order and augmentation are functions of (seed, epoch, example index) and of nothing
else. So an interrupted run resumes with the very batches it would have seen, and no
random state has to be saved.
"""

import dataclasses
import difflib
import math
import os
import socket
import stat
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from trainers import digits

ALIASES = {"digits": digits.SklearnDigits.name}
FOLDER_PREFIX = "folder:"

# Decoded images are kept in memory up to this size, and so is a shuffle buffer.
MEMORY_BYTES = 2 * 1024**3
SHUFFLE_BUFFER = 50_000  # CIFAR's train split: a uniform permutation of it.


class DataError(ValueError):
    """Data that cannot be had as asked for. The message is one line."""


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
    name: str,
    data_dir: str | None = None,
    validation_fraction: float = 0.1,
    image_size: int | tuple[int, int] | None = None,
) -> ImageData:
    """Loads an image classification set.

    The test split is the set's `test`, or its `validation` where it has no `test`.

    Args:
      name: `digits`, a TFDS name such as `cifar10`, or `folder:/path` for images at
        /path/<split>/<label>/*.png or jpg with splits `train` and `test`.
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
        _refuse(
            "validation_fraction",
            "a number in [0, 1)",
            repr(validation_fraction),
            "use 0 for no validation split",
        )
    size = _checked_size(image_size)
    builder = _find_builder(name, data_dir)
    image, label = _checked_features(name, builder)
    shape = (*(size or image.shape[:2]), image.shape[-1])
    if None in shape:
        _refuse(
            "image_size",
            f"a size, as the images of {name!r} differ in shape",
            repr(image_size),
            "give one, for example 32 or (32, 48)",
        )

    test_split = "test" if "test" in builder.info.splits else "validation"
    stored = {}
    for split in ("train", test_split):
        info = builder.info.splits.get(split)
        if not info or not info.num_examples:
            found = sorted(s for s, i in builder.info.splits.items() if i.num_examples)
            _refuse(
                "name",
                "a set with examples in splits train and test",
                f"{name!r} with {found}",
                "add the missing split or choose another set",
            )
        stored[split] = info.num_examples

    held_out = round(stored["train"] * validation_fraction)
    kept = stored["train"] - held_out
    if not kept or (validation_fraction and not held_out):
        _refuse(
            "validation_fraction",
            f"one that leaves both parts of {stored['train']} examples non-empty",
            repr(validation_fraction),
            "choose another fraction, or 0",
        )
    ranges = {
        "train": ("train", 0, kept),
        "validation": ("train", kept, stored["train"]),
        "test": (test_split, 0, stored[test_split]),
    }
    sizes = {part: stop - start for part, (_, start, stop) in ranges.items()}
    fits = sum(sizes.values()) * math.prod(shape) <= MEMORY_BYTES
    try:
        parts = {}
        for part, (split, start, stop) in ranges.items():
            if stop > start:
                dataset = _read(builder, split, start, stop, size)
                parts[part] = _in_memory(dataset) if fits else dataset
        mean, std = _statistics(parts["train"])
    except tf.errors.OpError as error:
        _refuse("name", "readable images", f"{name!r}: {error.message}", "mend them")
    return ImageData(
        name=name,
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        sizes=sizes,
        image_shape=shape,
        class_names=tuple(label.names),
        mean=mean,
        std=std,
    )


def normalize(images, mean, std) -> tf.Tensor:
    """(x/255 - mean) / std, per channel, in float32.

    Args:
      images: (..., C), values 0..255 of any numeric type.
      mean: C numbers.
      std: C positive numbers.
    """
    # One multiplication and one addition per pixel.
    scale = 1 / (255 * np.asarray(std))
    shift = -np.asarray(mean) / np.asarray(std)
    return tf.cast(images, tf.float32) * scale.astype("f") + shift.astype("f")


# The published CIFAR recipe: pad with zeros by 4 on each side, crop at random.
PADDING = 4


def _none(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    del draws
    return images


def _crop(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    return _window(images, draws, flip=tf.zeros_like(draws[:, :1], tf.bool))


def _crop_flip(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    return _window(images, draws, flip=draws[:, 2:] < 0.5)


def _window(images: tf.Tensor, draws: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """Cuts an H x W window out of each padded image; mirrors it where `flip` is."""
    _, height, width, _ = images.shape
    # floor(u * 9) is in 0..8 for every float32 u in [0, 1).
    corner = tf.cast(draws[:, :2] * (2 * PADDING + 1), tf.int32)
    rows = corner[:, :1] + tf.range(height)
    columns = corner[:, 1:] + tf.where(
        flip, tf.range(width - 1, -1, -1), tf.range(width)
    )
    edge = [PADDING, PADDING]
    padded = tf.pad(images, [[0, 0], edge, edge, [0, 0]])
    # A batch at a time: 47,000 CIFAR images per CPU second, against 8,000 with
    # `tf.slice` on each image.
    return tf.gather(
        tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1
    )


# name -> function of uint8 images (B, H, W, C) and of DRAWS numbers in [0, 1) for
# each example, (B, DRAWS), to images of the same shape.
DRAWS = 3
AUGMENTATIONS: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "none": _none,
    "crop": _crop,
    "crop_flip": _crop_flip,
}


def train_batches(
    data: ImageData,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: str = "none",
    skip_batches: int = 0,
) -> tf.data.Dataset:
    """Batches of one epoch of training, shuffled, augmented and normalised.

    The same (seed, epoch) gives bit-equal batches, whatever the number of threads and
    whatever `tf.random.set_seed` was told.

    Args:
      data: From `load`.
      batch_size: Examples per batch, 1..n. The last n % batch_size are dropped.
      seed: At least 0.
      epoch: At least 0.
      augment: A name in `AUGMENTATIONS`. Default: "none".
      skip_batches: Leave out this many batches from the start. Default: 0.

    Returns:
      Data set of (float32 (B, H, W, C), int64 (B,)).

    Raises:
      DataError: If an argument is out of range.
    """
    size = data.sizes["train"]
    if augment not in AUGMENTATIONS:
        _refuse(
            "augment", f"one of {sorted(AUGMENTATIONS)}", repr(augment), "choose one"
        )
    _check_range("batch_size", batch_size, 1, size)
    _check_range("skip_batches", skip_batches, 0, size // batch_size)
    _check_range("seed", seed, 0)
    _check_range("epoch", epoch, 0)

    order, *key = np.random.SeedSequence([seed, epoch]).generate_state(3).tolist()
    with tf.device("CPU"):
        order = tf.constant(order, tf.int64)
        # Row i belongs to example i, so a draw depends neither on the order nor on
        # the batch. Philox by name, as the default differs between devices.
        draws = tf.random.stateless_uniform([size, DRAWS], key, alg="philox")

    def prepare(batch):
        images = AUGMENTATIONS[augment](
            batch["image"], tf.gather(draws, batch["index"])
        )
        return normalize(images, data.mean, data.std), batch["label"]

    batches = (
        _shuffle(data.train, tf.constant(_shuffle_buffer(data), tf.int64), order)
        .skip(skip_batches * batch_size)
        .batch(batch_size, drop_remainder=True)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )
    return _shard_by_example(batches).prefetch(tf.data.AUTOTUNE)


def eval_batches(data: ImageData, split: str, batch_size: int) -> tf.data.Dataset:
    """Batches of a whole split, in order and normalised; the last may be smaller.

    Args:
      data: From `load`.
      split: "train", "validation" or "test".
      batch_size: Examples per batch, at least 1.

    Returns:
      Data set of (float32 (B, H, W, C), int64 (B,)).

    Raises:
      DataError: If the split is unknown or empty, or batch_size is below 1.
    """
    present = [name for name, size in data.sizes.items() if size]
    if split not in present:
        _refuse("split", f"one of {present}", repr(split), "choose one")
    _check_range("batch_size", batch_size, 1)

    def prepare(batch):
        return normalize(batch["image"], data.mean, data.std), batch["label"]

    batches = (
        getattr(data, split)
        .batch(batch_size)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )
    return _shard_by_example(batches).prefetch(tf.data.AUTOTUNE)


def _shuffle_buffer(data: ImageData) -> int:
    """Examples to shuffle among: all of them, as far as memory allows."""
    fit = MEMORY_BYTES // math.prod(data.image_shape)
    return max(1, min(data.sizes["train"], SHUFFLE_BUFFER, fit))


@tf.function
def _shuffle(dataset: tf.data.Dataset, buffer: tf.Tensor, seed: tf.Tensor):
    """`dataset` in an order that depends on `buffer` and `seed` alone."""
    # `Dataset.shuffle` mixes its seed with that of `tf.random.set_seed`, eager or of
    # the graph. In a graph of its own the latter is fixed without touching the
    # caller's. Tensors for arguments, so that one trace serves every epoch.
    tf.random.set_seed(1)
    return dataset.shuffle(buffer, seed, reshuffle_each_iteration=False)


def _shard_by_example(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Lets a distribution strategy share out batches, never files, among workers."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.with_options(options)


def _read(builder, split: str, start: int, stop: int, size) -> tf.data.Dataset:
    """Examples start..stop-1 of a stored split, in stored order."""
    if isinstance(builder, tfds.ImageFolder):  # It knows no slices.
        dataset = builder.as_dataset(split=split).skip(start).take(stop - start)
    else:
        # One file at a time: positions are then those of the split as a whole.
        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        dataset = builder.as_dataset(
            split=f"{split}[{start}:{stop}]", read_config=config
        )
    image_key, label_key = _keys(builder)

    def select(index, example):
        image = example[image_key]
        if size is not None:
            image = tf.image.resize(image, size, antialias=True)
            image = tf.saturate_cast(tf.round(image), tf.uint8)
        return {"index": index, "image": image, "label": example[label_key]}

    return dataset.enumerate(start).map(
        select, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
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


def _find_builder(name: str, data_dir: str | None):
    """The builder of a prepared set; prepares it if need be."""
    if name.startswith(FOLDER_PREFIX):
        path = os.path.expanduser(name.removeprefix(FOLDER_PREFIX))
        if not os.path.isdir(path):
            _refuse(
                "name", "an existing folder of images", repr(name), "check the path"
            )
        return tfds.ImageFolder(path)
    folders = [data_dir] if data_dir else _default_folders()
    builders = [_registered(name, folder) for folder in folders]
    for builder in builders:
        if builder.is_prepared():
            return builder
    _checked_features(name, builders[0])  # Before a long download, not after it.
    target = next((f for f in folders if _writable(f)), folders[-1])
    return _prepare(name, target)


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
        return tfds.builder(ALIASES.get(name, name), data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        known = [*ALIASES, *tfds.list_builders(with_community_datasets=False)]
        close = difflib.get_close_matches(name, known, n=3)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else "see tfds.list_builders()"
        )
        _refuse("name", "digits, a TFDS name or folder:/path", repr(name), hint)
    except Exception as error:  # A builder's own code may raise anything.
        _refuse("name", "a set that TFDS can build", f"{name!r}: {error}", "see TFDS")


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
            _refuse(
                "data_dir",
                f"a folder that holds {name!r} prepared, or one to prepare it in",
                f"{folder!r}: {type(error).__name__}: {error}",
                "prepare it where there is a network and set data_dir or TFDS_DATA_DIR",
            )
    return builder


def _check_hosts(builder, folder: str) -> None:
    """Fails at once when offline, where TFDS would retry for minutes.

    Raises:
      OSError: If none of the hosts to download from has an address.
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


def _keys(builder) -> tuple[str, str]:
    """The names of the image and the label feature."""
    keys = (builder.info.supervised_keys or ())[:2]  # A third would be weights.
    plain = len(keys) == 2 and all(isinstance(key, str) for key in keys)
    return keys if plain else ("image", "label")


def _checked_features(name: str, builder):
    """The image and the label feature of a set."""
    keys = _keys(builder)
    features = builder.info.features
    image, label = (features[key] if key in features else None for key in keys)
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        _refuse("name", "a set of 8-bit images", f"{name!r} with {keys}", "choose one")
    if not isinstance(label, tfds.features.ClassLabel):
        _refuse(
            "name", "a set with class labels", f"{name!r} with {keys}", "choose one"
        )
    return image, label


def _checked_size(image_size) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(side < 1 for side in size):
        _refuse(
            "image_size",
            "a side or (height, width), at least 1",
            repr(image_size),
            "mend it",
        )
    return size


def _check_range(argument: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"in {low}..{high}"
        _refuse(
            argument, f"a whole number {limit}", repr(value), "choose one in that range"
        )


def _refuse(argument: str, expected: str, received: str, remedy: str) -> NoReturn:
    """Raises a DataError of one line."""
    message = f"{argument}: expected {expected}; received {received}; {remedy}"
    raise DataError(" ".join(message.split())) from None
