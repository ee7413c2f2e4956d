"""Order, augmentation and normalisation: functions of (seed, epoch, example)."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from image_sets import assert_same, batch_list, gather, is_one_line

from trainers import data
from trainers.data.augmentation import AUGMENTATIONS, DRAWS
from trainers.data.batches import (
    eval_batches,
    normalize,
    recalibration_batches,
    train_batches,
)
from trainers.data.errors import DataError
from trainers.data.generated import generated


@pytest.fixture(scope="module")
def colours():
    """60 random colour images of 12 x 10 pixels."""
    rng = np.random.default_rng(0)
    examples = {
        "index": np.arange(60),
        "image": rng.integers(1, 256, (60, 12, 10, 3), np.uint8),
        "label": np.arange(60) % 3,
    }
    dataset = tf.data.Dataset.from_tensor_slices(examples)
    # Mean 0 and deviation 1/255 make `normalize` the identity, so that batches can be
    # compared with pixels.
    return data.ImageData(
        "colours",
        dataset,
        None,
        dataset,
        {"train": 60, "validation": 0, "test": 60},
        (12, 10, 3),
        ("a", "b", "c"),
        (0.0,) * 3,
        (1 / 255,) * 3,
    )


def test_normalize():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    mean, std = np.array([0.5, 0.25, 0.0]), np.array([0.25, 1.0, 2.0])
    expected = (images / 255 - mean) / std
    np.testing.assert_allclose(normalize(images, mean, std), expected, atol=1e-6)


# --- batches


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_batches_repeat_bit_for_bit(digits, augment):
    first = batch_list(digits, 100, seed=3, epoch=2, augment=augment)
    assert len(first) == 12
    tf.random.set_seed(1234)  # Must not matter.
    assert_same(first, batch_list(digits, 100, seed=3, epoch=2, augment=augment))
    tail = batch_list(digits, 100, seed=3, epoch=2, augment=augment, skip_batches=5)
    assert_same(first[5:], tail)


def test_batches_do_not_depend_on_threads(digits):
    batches = train_batches(digits, 100, 0, 0, "crop_flip")
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    single = batches.with_options(options)
    assert_same(list(single.as_numpy_iterator()), list(batches.as_numpy_iterator()))


def test_no_tuner_delays_the_end_of_an_epoch(digits):
    pipelines = [
        train_batches(digits, 100, 0, 0, "crop_flip", cutout=2, side=4),
        recalibration_batches(digits, "none", 2),
        eval_batches(digits, "test", 100),
        generated({**digits.description, "image_shape": [8, 8, 1]}).train.batch(2),
    ]
    for batches in pipelines:
        assert batches.options().autotune.enabled is False


@pytest.mark.parametrize("other", [{"seed": 1, "epoch": 0}, {"seed": 0, "epoch": 1}])
def test_seed_and_epoch_change_the_order(digits, other):
    first = np.concatenate([y for _, y in batch_list(digits, 100, 0, 0)])
    second = np.concatenate([y for _, y in batch_list(digits, 100, **other)])
    assert np.mean(first == second) < 0.2


def test_an_epoch_sees_every_example_once(colours):
    batches = batch_list(colours, 20, seed=0, epoch=0)
    images = np.concatenate([x for x, _ in batches]).astype(np.uint8)
    expected = gather(colours.train, "image")
    found = {image.tobytes() for image in images}
    assert len(images) == 60 and found == {image.tobytes() for image in expected}


def test_last_uneven_batch(digits):
    batches = train_batches(digits, 100, 0, 0)
    assert len(batches) == 12 and batches.element_spec[0].shape == (100, 8, 8, 1)
    sizes = [len(y) for _, y in eval_batches(digits, "test", 100)]
    assert sizes == [100, 100, 100, 55]


def test_eval_batches_keep_the_order(colours):
    (images, labels) = next(iter(eval_batches(colours, "test", 60)))
    np.testing.assert_allclose(images, gather(colours.test, "image"), rtol=1e-6)
    np.testing.assert_array_equal(labels, gather(colours.test, "label"))


# --- augmentation


def _candidates(image, flips):
    """Every window that pad-and-crop can give, by plain slices."""
    height, width, _ = image.shape
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    for dy, dx, flip in itertools.product(range(9), range(9), flips):
        window = padded[dy : dy + height, dx : dx + width]
        yield (dy, dx, flip), window[:, ::-1] if flip else window


@pytest.mark.parametrize(
    "augment, flips", [("crop", (False,)), ("crop_flip", (False, True))]
)
def test_every_example_has_its_own_window(colours, augment, flips):
    originals = gather(colours.train, "image")
    rng = np.random.default_rng(0)
    draws = rng.random((60, DRAWS), np.float32)
    augmented = AUGMENTATIONS[augment](originals, tf.constant(draws)).numpy()
    found = []
    for original, image in zip(originals, augmented, strict=True):
        (which,) = (
            which
            for which, window in _candidates(original, flips)
            if np.array_equal(window, image)
        )
        found.append(which)
    dy, dx, flip = np.array(found).T
    np.testing.assert_array_equal(dy, np.floor(draws[:, 0] * 9))
    np.testing.assert_array_equal(dx, np.floor(draws[:, 1] * 9))
    assert set(flip) == set(flips)
    assert len(set(found)) > 40


def test_draws_at_the_ends_of_their_range():
    image = np.arange(1, 13, dtype=np.uint8).reshape(1, 4, 3, 1)
    below_one = np.nextafter(np.float32(1), np.float32(0))
    for u, corner in ((0.0, 0), (below_one, 8)):
        (window,) = AUGMENTATIONS["crop"](image, tf.fill([1, 3], u)).numpy()
        padded = np.pad(image[0], ((4, 4), (4, 4), (0, 0)))
        expected = padded[corner : corner + 4, corner : corner + 3]
        np.testing.assert_array_equal(window, expected)


def test_augmentation_of_an_example_does_not_depend_on_its_batch(colours):
    # The order of an epoch is the same for every batch size.
    small = np.concatenate([x for x, _ in batch_list(colours, 10, 0, 0, "crop_flip")])
    large = np.concatenate([x for x, _ in batch_list(colours, 30, 0, 0, "crop_flip")])
    np.testing.assert_array_equal(small, large)
    later = np.concatenate([x for x, _ in batch_list(colours, 30, 0, 1, "crop_flip")])
    seen = {image.tobytes() for image in small}
    assert sum(image.tobytes() in seen for image in later) < 10


def test_augmentation_reaches_the_batches(colours):
    plain = np.concatenate([x for x, _ in batch_list(colours, 20, 0, 0, "none")])
    cropped = np.concatenate([x for x, _ in batch_list(colours, 20, 0, 0, "crop")])
    same = sum(np.array_equal(a, b) for a, b in zip(plain, cropped, strict=True))
    assert same < 6  # One in 81 keeps its place.


# --- refusals


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"augment": "mixup"}, "augment: .*'crop_flip'.*Received 'mixup'"),
        ({"batch_size": 0}, "batch_size: .*1..1298"),
        ({"batch_size": 1299}, "batch_size: .*1..1298"),
        ({"skip_batches": 13}, "skip_batches: .*0..12"),
        ({"seed": -1}, "seed: .*at least 0"),
        ({"epoch": -1}, "epoch: .*at least 0"),
    ],
)
def test_train_batches_refuses(digits, arguments, message):
    with pytest.raises(DataError, match=message) as error:
        train_batches(digits, **{"batch_size": 100, "seed": 0, "epoch": 0, **arguments})
    assert is_one_line(error)


def test_eval_batches_refuses(digits):
    without = dataclasses.replace(
        digits, validation=None, sizes={**digits.sizes, "validation": 0}
    )
    with pytest.raises(DataError, match=r"split: expected one of \['train', 'test'\]"):
        eval_batches(without, "validation", 10)
    with pytest.raises(DataError, match="split: .*Received 'tset'"):
        eval_batches(digits, "tset", 10)
    with pytest.raises(DataError, match="batch_size: .*at least 1"):
        eval_batches(digits, "test", 0)
