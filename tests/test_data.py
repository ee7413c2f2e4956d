import dataclasses
import itertools
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from trainers import batches as batching
from trainers import data
from trainers.augmentation import AUGMENTATIONS, DRAWS
from trainers.batches import eval_batches, normalize, train_batches
from trainers.sources import DataError


@pytest.fixture(scope="module")
def digits(digits_dir):
    return data.load("digits", digits_dir)


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


@pytest.fixture
def folder(tmp_path):
    """Tiny images of differing shape: 10 for training and 4 for testing."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 5), ("test", 2)):
        for label, i in itertools.product(("cat", "dog"), range(n)):
            image = rng.integers(0, 256, (6 + i, 7, 3), np.uint8)
            path = tmp_path / split / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(image).numpy())
    return tmp_path


def _batches(*args, **kwargs):
    return list(train_batches(*args, **kwargs).as_numpy_iterator())


def _gather(dataset, key):
    return next(dataset.batch(10_000).as_numpy_iterator())[key]


def _assert_same(first, second):
    assert len(first) == len(second) > 0
    for (images, labels), (images_again, labels_again) in zip(
        first, second, strict=True
    ):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels, labels_again)


# --- load


def test_digits(digits):
    assert digits.sizes == {"train": 1298, "validation": 144, "test": 355}
    assert digits.image_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    spec = digits.train.element_spec
    assert (spec["index"].dtype, spec["label"].dtype) == (tf.int64, tf.int64)
    assert spec["image"] == tf.TensorSpec((8, 8, 1), tf.uint8)


def test_train_and_validation_are_disjoint_and_cover(digits, digits_dir):
    whole = data.load("digits", digits_dir, validation_fraction=0)
    assert whole.validation is None and whole.sizes["validation"] == 0
    index = [_gather(part, "index") for part in (digits.train, digits.validation)]
    np.testing.assert_array_equal(np.concatenate(index), np.arange(1442))
    np.testing.assert_array_equal(_gather(whole.train, "index"), np.arange(1442))
    # An index names the same image however much is held out.
    images = [_gather(part, "image") for part in (digits.train, digits.validation)]
    np.testing.assert_array_equal(np.concatenate(images), _gather(whole.train, "image"))


def test_streaming_gives_what_memory_gives(digits, digits_dir, monkeypatch):
    monkeypatch.setattr(batching, "MEMORY_BYTES", 1300 * 64)
    monkeypatch.setattr(data, "MEMORY_BYTES", 1300 * 64)  # Shuffles, does not keep.
    streamed = data.load("digits", digits_dir)
    assert (streamed.mean, streamed.std) == (digits.mean, digits.std)
    for split in ("train", "validation", "test"):
        for key in ("index", "image", "label"):
            kept = _gather(getattr(digits, split), key)
            np.testing.assert_array_equal(_gather(getattr(streamed, split), key), kept)
    _assert_same(_batches(streamed, 649, 0, 0), _batches(digits, 649, 0, 0))


def test_statistics(digits):
    x = _gather(digits.train, "image") / 255
    np.testing.assert_allclose(digits.mean, x.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(digits.std, x.std((0, 1, 2)), rtol=1e-12)
    (images, _) = next(iter(eval_batches(digits, "train", 1298)))
    assert images.dtype == tf.float32
    assert abs(np.mean(images)) < 1e-6 and abs(np.std(images) - 1) < 1e-6


def test_constant_channel_is_only_centred(tmp_path):
    for split, label in itertools.product(("train", "test"), "ab"):
        path = tmp_path / split / label / "0.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(tf.io.encode_png(np.full((4, 4, 3), 51, np.uint8)).numpy())
    flat = data.load(f"folder:{tmp_path}", validation_fraction=0, image_size=4)
    assert flat.mean == pytest.approx((0.2,) * 3) and flat.std == (1.0,) * 3
    (images, _) = next(iter(eval_batches(flat, "test", 2)))
    np.testing.assert_allclose(images, np.zeros((2, 4, 4, 3)), atol=1e-7)


def test_normalize():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    mean, std = np.array([0.5, 0.25, 0.0]), np.array([0.25, 1.0, 2.0])
    expected = (images / 255 - mean) / std
    np.testing.assert_allclose(normalize(images, mean, std), expected, atol=1e-6)


def test_image_folder(folder):
    sizes = {"train": 8, "validation": 2, "test": 4}
    images = data.load(f"folder:{folder}", validation_fraction=0.2, image_size=(8, 6))
    assert images.sizes == sizes
    assert images.image_shape == (8, 6, 3)
    assert images.class_names == ("cat", "dog")
    for split, size in sizes.items():
        pixels = _gather(getattr(images, split), "image")
        assert pixels.shape == (size, 8, 6, 3) and pixels.dtype == np.uint8


def test_prepared_set_is_found_by_environment(digits_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", digits_dir)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    assert data.load("digits").sizes["test"] == 355


def test_read_only_environment_folder_is_left_alone(tmp_path, monkeypatch):
    shared, home = tmp_path / "shared", tmp_path / "home"
    shared.mkdir(mode=0o555)
    monkeypatch.setenv("TFDS_DATA_DIR", str(shared))
    monkeypatch.setenv("HOME", str(home))
    assert data.load("digits").sizes["test"] == 355
    assert not os.listdir(shared)
    assert os.path.isdir(home / "tensorflow_datasets" / "sklearn_digits" / "1.0.0")


def test_another_process_may_prepare_first(tmp_path, monkeypatch):
    prepare = tfds.core.DatasetBuilder.download_and_prepare

    def prepare_and_lose_the_race(builder):
        prepare(builder)
        raise FileExistsError("the folder is there")

    monkeypatch.setattr(
        tfds.core.DatasetBuilder, "download_and_prepare", prepare_and_lose_the_race
    )
    assert data.load("digits", str(tmp_path)).sizes["test"] == 355


def test_cifar10(cifar_dir):
    # To load all of it takes seconds: look at the start.
    builder = tfds.builder("cifar10", data_dir=cifar_dir)
    assert builder.info.splits["train"].num_examples == 50_000
    part = data._read(builder, "train", 0, 64, None)
    example = next(part.batch(64).as_numpy_iterator())
    assert example["image"].shape == (64, 32, 32, 3)
    assert set(example["label"]) <= set(range(10))


# --- batches


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_batches_repeat_bit_for_bit(digits, augment):
    first = _batches(digits, 100, seed=3, epoch=2, augment=augment)
    assert len(first) == 12
    tf.random.set_seed(1234)  # Must not matter.
    _assert_same(first, _batches(digits, 100, seed=3, epoch=2, augment=augment))
    tail = _batches(digits, 100, seed=3, epoch=2, augment=augment, skip_batches=5)
    _assert_same(first[5:], tail)


def test_batches_do_not_depend_on_threads(digits):
    batches = train_batches(digits, 100, 0, 0, "crop_flip")
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    single = batches.with_options(options)
    _assert_same(list(single.as_numpy_iterator()), list(batches.as_numpy_iterator()))


@pytest.mark.parametrize("other", [{"seed": 1, "epoch": 0}, {"seed": 0, "epoch": 1}])
def test_seed_and_epoch_change_the_order(digits, other):
    first = np.concatenate([y for _, y in _batches(digits, 100, 0, 0)])
    second = np.concatenate([y for _, y in _batches(digits, 100, **other)])
    assert np.mean(first == second) < 0.2


def test_an_epoch_sees_every_example_once(colours):
    batches = _batches(colours, 20, seed=0, epoch=0)
    images = np.concatenate([x for x, _ in batches]).astype(np.uint8)
    expected = _gather(colours.train, "image")
    found = {image.tobytes() for image in images}
    assert len(images) == 60 and found == {image.tobytes() for image in expected}


def test_last_uneven_batch(digits):
    batches = train_batches(digits, 100, 0, 0)
    assert len(batches) == 12 and batches.element_spec[0].shape == (100, 8, 8, 1)
    sizes = [len(y) for _, y in eval_batches(digits, "test", 100)]
    assert sizes == [100, 100, 100, 55]


def test_eval_batches_keep_the_order(colours):
    (images, labels) = next(iter(eval_batches(colours, "test", 60)))
    np.testing.assert_allclose(images, _gather(colours.test, "image"), rtol=1e-6)
    np.testing.assert_array_equal(labels, _gather(colours.test, "label"))


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
    originals = _gather(colours.train, "image")
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
    small = np.concatenate([x for x, _ in _batches(colours, 10, 0, 0, "crop_flip")])
    large = np.concatenate([x for x, _ in _batches(colours, 30, 0, 0, "crop_flip")])
    np.testing.assert_array_equal(small, large)
    later = np.concatenate([x for x, _ in _batches(colours, 30, 0, 1, "crop_flip")])
    seen = {image.tobytes() for image in small}
    assert sum(image.tobytes() in seen for image in later) < 10


def test_augmentation_reaches_the_batches(colours):
    plain = np.concatenate([x for x, _ in _batches(colours, 20, 0, 0, "none")])
    cropped = np.concatenate([x for x, _ in _batches(colours, 20, 0, 0, "crop")])
    same = sum(np.array_equal(a, b) for a, b in zip(plain, cropped, strict=True))
    assert same < 6  # One in 81 keeps its place.


# --- refusals


def _is_one_line(error):
    return "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dataset": "cifar11"}, "dataset: .*'cifar11'; did you mean .*cifar10"),
        ({"dataset": "digit"}, "did you mean digits"),
        ({"dataset": "qqqqqqqqqq"}, "see tfds.list_builders"),
        ({"dataset": "mnist:99.0.0"}, "dataset: expected a set that TFDS can build"),
        ({"dataset": "folder:/no/such"}, "dataset: expected an existing folder"),
        ({"dataset": "imdb_reviews"}, "dataset: expected a set of 8-bit images"),
        ({"dataset": "div2k"}, "dataset: expected a set with class labels"),
        ({"dataset": "coco"}, "dataset: expected a set with class labels"),
        ({"validation_fraction": 1.0}, "validation_fraction: .*received 1.0"),
        ({"validation_fraction": -0.1}, "validation_fraction: .*received -0.1"),
        ({"validation_fraction": 1e-9}, "validation_fraction: .*1442 examples"),
        ({"image_size": 0}, "image_size: .*received 0"),
        ({"image_size": (1, 2, 3)}, "image_size: .*received .1, 2, 3."),
    ],
)
def test_load_refuses(digits_dir, arguments, message):
    with pytest.raises(DataError, match=message) as error:
        data.load(**{"dataset": "digits", "data_dir": digits_dir, **arguments})
    assert _is_one_line(error)


def test_shapes_that_differ_need_a_size(folder):
    with pytest.raises(DataError, match="image_size: .*received None; give") as error:
        data.load(f"folder:{folder}")
    assert _is_one_line(error)


def test_folder_needs_both_splits(folder):
    (folder / "test").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="splits train and test; received") as error:
        data.load(f"folder:{folder}", image_size=8)
    assert _is_one_line(error)


def test_unreadable_image(folder):
    (folder / "train" / "cat" / "0.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="dataset: expected readable images") as error:
        data.load(f"folder:{folder}", image_size=8)
    assert _is_one_line(error)


def test_offline_is_told_at_once(tmp_path, monkeypatch):
    def offline(*args):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    with pytest.raises(DataError, match="data_dir: .*gaierror.*set data_dir") as error:
        data.load("cifar100", str(tmp_path))
    assert _is_one_line(error)


def test_failed_download(tmp_path, monkeypatch):
    def fail(builder):
        raise RuntimeError("checksum\nof the archive differs")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [])
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match="checksum of the archive differs") as error:
        data.load("cifar100", str(tmp_path))
    assert _is_one_line(error)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"augment": "mixup"}, "augment: .*'crop_flip'.*received 'mixup'"),
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
    assert _is_one_line(error)


def test_eval_batches_refuses(digits):
    without = dataclasses.replace(
        digits, validation=None, sizes={**digits.sizes, "validation": 0}
    )
    with pytest.raises(DataError, match=r"split: expected one of \['train', 'test'\]"):
        eval_batches(without, "validation", 10)
    with pytest.raises(DataError, match="split: .*received 'tset'"):
        eval_batches(digits, "tset", 10)
    with pytest.raises(DataError, match="batch_size: .*at least 1"):
        eval_batches(digits, "test", 0)
