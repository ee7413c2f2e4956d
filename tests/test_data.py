"""Loading image sets: splits, statistics, folders, and what is refused."""

import itertools
import os
import shutil
import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from image_sets import assert_same, batch_list, gather, is_one_line

from trainers import data
from trainers.data import batches as batching
from trainers.data import images, tfds_sets
from trainers.data.batches import eval_batches
from trainers.data.errors import DataError
from trainers.data.splits import Part


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
    index = [gather(part, "index") for part in (digits.train, digits.validation)]
    np.testing.assert_array_equal(np.concatenate(index), np.arange(1442))
    np.testing.assert_array_equal(gather(whole.train, "index"), np.arange(1442))
    # An index names the same image however much is held out.
    images = [gather(part, "image") for part in (digits.train, digits.validation)]
    np.testing.assert_array_equal(np.concatenate(images), gather(whole.train, "image"))


def test_streaming_gives_what_memory_gives(digits, digits_dir, monkeypatch):
    monkeypatch.setattr(batching, "MEMORY_BYTES", 1300 * 64)
    monkeypatch.setattr(images, "MEMORY_BYTES", 1300 * 64)  # Shuffles, does not keep.
    streamed = data.load("digits", digits_dir)
    assert (streamed.mean, streamed.std) == (digits.mean, digits.std)
    for split in ("train", "validation", "test"):
        for key in ("index", "image", "label"):
            kept = gather(getattr(digits, split), key)
            np.testing.assert_array_equal(gather(getattr(streamed, split), key), kept)
    assert_same(batch_list(streamed, 649, 0, 0), batch_list(digits, 649, 0, 0))


def test_statistics(digits):
    x = gather(digits.train, "image") / 255
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


def test_image_folder(folder):
    sizes = {"train": 8, "validation": 2, "test": 4}
    images = data.load(f"folder:{folder}", validation_fraction=0.2, image_size=(8, 6))
    assert images.sizes == sizes
    assert images.image_shape == (8, 6, 3)
    assert images.class_names == ("cat", "dog")
    for split, size in sizes.items():
        pixels = gather(getattr(images, split), "image")
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
    stored = tfds_sets.stored("cifar10", builder, cifar_dir)
    part = images._read(stored, Part("train", np.arange(64)), None)
    example = next(part.batch(64).as_numpy_iterator())
    assert example["image"].shape == (64, 32, 32, 3)
    assert set(example["label"]) <= set(range(10))


# --- refusals


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dataset": "cifar11"}, "dataset: .*'cifar11': did you mean .*cifar10"),
        ({"dataset": "digit"}, "did you mean digits"),
        ({"dataset": "qqqqqqqqqq"}, "see tfds.list_builders"),
        ({"dataset": "mnist:99.0.0"}, "dataset: expected a set that TFDS can build"),
        ({"dataset": "folder:/no/such"}, "data_dir: expected an existing folder"),
        (
            {"dataset": "folder:/no/such", "data_dir": None},
            "dataset: expected an existing folder",
        ),
        ({"dataset": "folder:"}, "dataset: expected a path, folder:/path"),
        ({"dataset": "/"}, "dataset: .*use folder:/ for the folder"),
        ({"dataset": "imdb_reviews"}, "dataset: expected a set of 8-bit images"),
        ({"dataset": "div2k"}, "dataset: expected a set with class labels"),
        ({"dataset": "coco"}, "dataset: expected a set with class labels"),
        ({"validation_fraction": 1.0}, "validation_fraction: .*Received 1.0"),
        ({"validation_fraction": -0.1}, "validation_fraction: .*Received -0.1"),
        ({"validation_fraction": 1e-9}, "validation_fraction: .*1442 examples"),
        ({"image_size": 0}, "image_size: .*Received 0"),
        ({"image_size": (1, 2, 3)}, "image_size: .*Received .1, 2, 3."),
    ],
)
def test_load_refuses(digits_dir, arguments, message):
    with pytest.raises(DataError, match=message) as error:
        data.load(**{"dataset": "digits", "data_dir": digits_dir, **arguments})
    assert is_one_line(error)


def test_shapes_that_differ_need_a_size(folder):
    with pytest.raises(DataError, match="image_size: .*Received None: give") as error:
        data.load(f"folder:{folder}")
    assert is_one_line(error)


def test_folder_needs_both_splits(folder):
    (folder / "test").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="splits train and test. Received") as error:
        data.load(f"folder:{folder}", image_size=8)
    assert is_one_line(error)


def test_unreadable_image(folder):
    (folder / "train" / "cat" / "0.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="dataset: expected readable images") as error:
        data.load(f"folder:{folder}", image_size=8)
    assert is_one_line(error)


def test_offline_is_told_at_once(tmp_path, monkeypatch):
    def offline(*args):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    with pytest.raises(DataError, match="data_dir: .*gaierror.*set data_dir") as error:
        data.load("cifar100", str(tmp_path))
    assert is_one_line(error)


def test_failed_download(tmp_path, monkeypatch):
    def fail(builder):
        raise RuntimeError("checksum\nof the archive differs")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [])
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match="checksum of the archive differs") as error:
        data.load("cifar100", str(tmp_path))
    assert is_one_line(error)


def test_a_class_folder_that_appeared_later_is_noticed(folder):
    """Labels would have shifted by one, without a word."""
    found = data.load(f"folder:{folder}", validation_fraction=0, image_size=8)
    description = {
        "name": f"folder:{folder}",
        "image_size": 8,
        "class_names": list(found.class_names),
        "mean": found.mean,
        "std": found.std,
    }
    assert data.load_as_trained(description).class_names == found.class_names
    for split in ("train", "test"):
        (folder / split / "aaa").mkdir()
        image = next((folder / split / found.class_names[0]).iterdir())
        shutil.copy(image, folder / split / "aaa" / image.name)
    with pytest.raises(DataError, match="data_dir: expected .* classes of"):
        data.load_as_trained(description)
