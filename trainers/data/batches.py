"""Batches of images: order, augmentation and normalisation.

    for images, labels in train_batches(data, 128, seed, epoch, "crop_flip"):
        ...

Order and augmentation are functions of (seed, epoch, example index) alone. So an
interrupted run resumes with exactly the batches it would have seen, and no random state
has to be saved.
"""

import math

import numpy as np
import tensorflow as tf

from trainers.data.augmentation import AUGMENTATIONS, DRAWS, cut_out
from trainers.data.errors import refuse
from trainers.data.images import MEMORY_BYTES, ImageData

_RECALIBRATION_BATCH = 128
SHUFFLE_BUFFER = 50_000  # CIFAR's train split: a uniform permutation of it.


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


def train_batches(
    data: ImageData,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: str = "none",
    skip_batches: int = 0,
    shards: int = 1,
    shard: int = 0,
    cutout: int = 0,
    side: int | None = None,
) -> tf.data.Dataset:
    """Returns the batches of one training epoch, shuffled, augmented and normalised.

    The same (seed, epoch) gives bit-equal batches, regardless of the number of threads
    and of `tf.random.set_seed`.

    Args:
        data: From `load`.
        batch_size: Examples per batch, 1..n. The last n % batch_size are dropped.
        seed: At least 0.
        epoch: At least 0.
        augment: A name in `AUGMENTATIONS`. Default: "none".
        skip_batches: Batches to leave out at the start. Default: 0.
        shards: Equal parts of every batch, a divisor of batch_size. Default: 1.
        shard: The part to prepare, 0..shards-1. Default: 0.
        cutout: Side in pixels of the square to cut out, 0 (default) for none.
        side: Height to resize the images to, last of all, with the width in proportion.
            Default: no resizing.

    Returns:
        Data set of (float32 (B / shards, H, W, C), int64 (B / shards,)).

    Raises:
        DataError: If an argument is out of range.
    """
    size = data.sizes["train"]
    if augment not in AUGMENTATIONS:
        refuse(
            "augment", f"one of {sorted(AUGMENTATIONS)}", repr(augment), "choose one"
        )
    _check_range("batch_size", batch_size, 1, size)
    _check_range("skip_batches", skip_batches, 0, size // batch_size)
    _check_range("seed", seed, 0)
    _check_range("epoch", epoch, 0)

    words = np.random.SeedSequence([seed, epoch]).generate_state(5).tolist()
    order, key, hole_key = words[0], words[1:3], words[3:]
    with tf.device("CPU"):
        order = tf.constant(order, tf.int64)
        # Row i belongs to example i, so a draw depends neither on the order nor on
        # the batch. Philox by name, as the default differs between devices.
        draws = tf.random.stateless_uniform([size, DRAWS], key, alg="philox")
        # Separate draws, so that those of the crops do not depend on --cutout.
        holes = tf.random.stateless_uniform([size, 2], hole_key, alg="philox")

    def prepare(batch):
        images = AUGMENTATIONS[augment](
            batch["image"], tf.gather(draws, batch["index"])
        )
        images = normalize(images, data.mean, data.std)
        if cutout:
            images = cut_out(images, tf.gather(holes, batch["index"]), cutout)
        if side is not None:
            images = _resize(images, side)
        return images, batch["label"]

    batches = (
        _shuffle(data.train, tf.constant(_shuffle_buffer(data), tf.int64), order)
        .skip(skip_batches * batch_size)
        .batch(batch_size // shards, drop_remainder=True)
        .shard(shards, shard)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _resize(images, height):
    """Resizes bilinearly, antialiased, in proportion; no change at equal height."""
    _, rows, columns, _ = images.shape
    if height == rows:
        return images
    size = height, max(1, round(columns * height / rows))
    return tf.image.resize(images, size, antialias=True)


def recalibration_batches(
    data: ImageData, augment: str, count: int, cutout: int = 0
) -> tf.data.Dataset:
    """Returns training batches to re-estimate batch norms on: of 128, or of all images.

    Args:
        data: From `load`.
        augment, cutout: As in training.
        count: Number of batches.
    """
    size = min(_RECALIBRATION_BATCH, data.sizes["train"])
    return train_batches(data, size, 0, 0, augment, cutout=cutout).take(count)


def recalibration_batches_of(data: ImageData, said: dict, count: int):
    """Returns `recalibration_batches`, augmented as a net says it was trained.

    Args:
        data, count: As there.
        said: The `"data"` of the net's metadata.
    """
    augment, cutout = said.get("augment", "none"), said.get("cutout", 0)
    return recalibration_batches(data, augment, count, cutout)


def eval_batches(
    data: ImageData, split: str, batch_size: int, examples: int | None = None
) -> tf.data.Dataset:
    """Returns the batches of a split, in order, normalised; the last may be smaller.

    Args:
        data: From `load`.
        split: "train", "validation" or "test".
        batch_size: Examples per batch, at least 1.
        examples: How many to take, from the first on. Default: all.

    Returns:
        Data set of (float32 (B, H, W, C), int64 (B,)).

    Raises:
        DataError: If the split is unknown or empty, or batch_size is below 1.
    """
    present = [name for name, size in data.sizes.items() if size]
    if split not in present:
        refuse("split", f"one of {present}", repr(split), "choose one")
    _check_range("batch_size", batch_size, 1)

    def prepare(batch):
        return normalize(batch["image"], data.mean, data.std), batch["label"]

    batches = (
        getattr(data, split)
        .take(-1 if examples is None else examples)
        .batch(batch_size)
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )
    return _shard_by_example(batches).prefetch(tf.data.AUTOTUNE)


def _shuffle_buffer(data: ImageData) -> int:
    """Returns how many examples to shuffle among: all, up to the limits."""
    fit = MEMORY_BYTES // math.prod(data.image_shape)
    return max(1, min(data.sizes["train"], SHUFFLE_BUFFER, fit))


@tf.function
def _shuffle(dataset: tf.data.Dataset, buffer: tf.Tensor, seed: tf.Tensor):
    """Shuffles into an order that depends on `buffer` and `seed` alone."""
    # `Dataset.shuffle` mixes its seed with that of `tf.random.set_seed`, eager or of
    # the graph. In a graph of its own, the latter is fixed without touching the
    # caller's. The arguments are tensors, so that one trace serves every epoch.
    tf.random.set_seed(1)
    return dataset.shuffle(buffer, seed, reshuffle_each_iteration=False)


def _shard_by_example(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Has a distribution strategy share out batches, never files, among workers."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.with_options(options)


def _check_range(argument: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"in {low}..{high}"
        refuse(
            argument, f"a whole number {limit}", repr(value), "choose one in that range"
        )
