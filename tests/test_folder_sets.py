"""Sets of images in folders: found wherever they lie, read whole or refused."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from image_sets import (
    described,
    gather,
    load_folder,
    refusal,
    same_images,
    write_image,
    write_set,
)

from trainers import data
from trainers.data import images
from trainers.data.errors import MissingData

# --- where a set lies


def test_a_relative_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    write_set(tmp_path / "pets")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    found = load_folder("pets")
    assert found.name == f"folder:{tmp_path / 'pets'}"
    monkeypatch.chdir(tmp_path / "elsewhere")
    same_images(data.load_as_trained(described(found)), found)


@pytest.mark.parametrize("data_dir", ["new/pets", "new"])
def test_a_set_that_moved_is_named_by_data_dir(tmp_path, data_dir):
    found = load_folder(write_set(tmp_path / "pets"))
    (tmp_path / "new").mkdir()
    (tmp_path / "pets").rename(tmp_path / "new" / "pets")
    again = data.load_as_trained(described(found), str(tmp_path / data_dir))
    same_images(again, found)
    assert again.files_sha256 == found.files_sha256
    message = refusal(data.load_as_trained, described(found), error=MissingData)
    assert "say where it is now with --data_dir" in message
    (tmp_path / "empty").mkdir()
    nowhere = str(tmp_path / "empty")
    message = refusal(
        data.load_as_trained, described(found), nowhere, error=MissingData
    )
    assert "data_dir: expected an existing folder of images" in message


def test_a_data_dir_of_other_sets_is_told_and_left(tmp_path, digits_dir, capsys):
    write_set(tmp_path)
    assert load_folder(tmp_path, data_dir=digits_dir).sizes["train"] == 8
    assert (
        "which has no folder train: reading the path in its name"
        in capsys.readouterr().err
    )


def test_a_set_of_tfds_is_found_again_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    found = described(data.load("digits", "sets"))
    assert found["found_in"] == str(tmp_path / "sets")
    monkeypatch.chdir("/")
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    assert data.load_as_trained(found).sizes["test"] == 355


def test_what_a_net_was_trained_on_is_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    description = {"name": "cifar100", "class_names": [], "mean": [], "std": []}
    message = refusal(
        data.load_as_trained, description, str(tmp_path), error=MissingData
    )
    assert "data_dir: expected a folder that holds 'cifar100' prepared" in message
    description["name"] = "a_set_of_mine"
    message = refusal(
        data.load_as_trained, description, str(tmp_path), error=MissingData
    )
    assert "'a_set_of_mine'" in message


# --- what is in it


def test_plain_sets_are_read_in_the_order_of_tfds(tmp_path):
    """So that what earlier runs held out stays what it is."""
    write_set(tmp_path, classes=("cat", "dog", "emu"), count=12)
    theirs = tfds.ImageFolder(str(tmp_path))
    ours = load_folder(tmp_path)
    for split in ("train", "test"):
        expected = theirs.as_dataset(split=split)
        for key in ("image", "label"):
            np.testing.assert_array_equal(
                gather(getattr(ours, split), key), gather(expected, key)
            )


def test_images_of_one_size_need_no_other(tmp_path):
    assert load_folder(write_set(tmp_path)).image_shape == (6, 7, 3)


def test_mixed_images_become_one_shape(tmp_path, capsys):
    """Sizes, channels, depths and formats in one class."""
    write_set(tmp_path)
    cats = tmp_path / "train" / "cat"
    for i, (suffix, shape) in enumerate(
        [
            ("png", (9, 5, 1)),
            ("webp", (8, 8, 3)),
            ("bmp", (6, 7, 3)),
            ("gif", (6, 7, 3)),
        ]
        + [("png", (5, 5, 4)), ("tiff", (7, 7, 3)), ("JPG", (6, 7, 1))]
    ):
        write_image(cats / f"m{i}.{suffix}", i, shape)
    found = load_folder(tmp_path, image_size=8)
    assert found.sizes["train"] == 15
    assert gather(found.train, "image").shape == (15, 8, 8, 3)
    told = capsys.readouterr().err
    assert "5 sizes, from 5 x 5 (" in told and "become 8 x 8 regardless" in told


def test_sizes_that_differ_are_named(tmp_path):
    write_set(tmp_path)
    write_image(tmp_path / "train" / "cat" / "wide.png", shape=(5, 9, 3))
    message = refusal(load_folder, tmp_path)
    assert "2 sizes, from 5 x 9 (train/cat/wide.png) to 6 x 7 (" in message


# --- images that cannot be read


def damage(root):
    """Two broken images of training, one of testing."""
    (root / "train" / "cat" / "0.png").write_bytes(b"")
    path = root / "train" / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:-40])
    (root / "test" / "dog" / "1.png").write_text("<html>404</html>")


@pytest.mark.parametrize("how", [{}, {"image_size": 8}])
def test_broken_images_are_named_in_one_line(tmp_path, how):
    damage(write_set(tmp_path))
    message = refusal(load_folder, tmp_path, **how)
    listed = (
        "3 that cannot be read: test/dog/1.png (not an image), train/cat/0.png (empty)"
    )
    assert f"{listed}, train/dog/1.png (" in message and "--skip_broken" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_that_breaks_off_is_found_before_the_training(tmp_path, monkeypatch, split):
    """Though its start is whole, and sets that memory does not hold are read later."""
    monkeypatch.setattr(images, "MEMORY_BYTES", 0)
    write_set(tmp_path)
    path = tmp_path / split / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:-40])
    message = refusal(load_folder, tmp_path)
    assert f"1 that cannot be read: {split}/dog/1.png" in message


def test_broken_images_are_left_out_where_that_is_asked_for(tmp_path, capsys):
    damage(write_set(tmp_path))
    found = load_folder(tmp_path, skip_broken=True)
    assert found.sizes == {"train": 6, "validation": 0, "test": 7}
    assert "left out 3 that cannot be read: test/dog/1.png" in capsys.readouterr().err
    same_images(data.load_as_trained(described(found)), found)


def test_a_class_of_broken_images_alone_is_refused(tmp_path):
    write_set(tmp_path)
    for path in (tmp_path / "train" / "cat").iterdir():
        path.write_bytes(b"")
    message = refusal(load_folder, tmp_path, skip_broken=True)
    assert "images in each class folder of train. Received none in 'cat'" in message


def test_only_files_of_a_folder_can_be_left_out(digits_dir):
    message = refusal(data.load, "digits", digits_dir, skip_broken=True)
    assert "skip_broken: expected a set folder:/path" in message


# --- a test set that is held out


@pytest.mark.parametrize("memory", [images.MEMORY_BYTES, 0])
def test_a_test_set_is_held_out_and_found_again(tmp_path, monkeypatch, memory):
    monkeypatch.setattr(images, "MEMORY_BYTES", memory)
    write_set(tmp_path, ("train",), ("cat", "dog", "emu"), count=10)
    how = {"test_fraction": 0.2, "validation_fraction": 0.25}
    found = load_folder(tmp_path, seed=3, **how)
    assert found.sizes == {"train": 18, "validation": 6, "test": 6}
    assert np.bincount(gather(found.test, "label")).tolist() == [2, 2, 2]
    parts = [gather(getattr(found, p), "image") for p in found.sizes]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 30
    np.testing.assert_array_equal(gather(found.train, "index"), np.arange(18))
    again = data.load_as_trained(described(found))
    assert again.sizes == found.sizes
    same_images(again, found)
    other = load_folder(tmp_path, seed=4, **how)
    assert (gather(other.test, "image") != gather(found.test, "image")).any()


@pytest.mark.slow
def test_of_a_set_of_tfds_too(digits_dir, monkeypatch):
    """The labels of all examples are read without their images."""
    from trainers.data import digits, tfds_sets

    def train_alone(wanted):
        stored = tfds_sets.open_set(wanted)
        return images.dataclasses.replace(stored, splits={"train": 1442})

    source = images.dataclasses.replace(digits.SOURCE, open=train_alone)
    monkeypatch.setattr("trainers.data.sources.SOURCES", (source,))
    monkeypatch.setattr(digits, "NAME", "sklearn_digits")
    found = data.load("sklearn_digits", digits_dir, test_fraction=0.25)
    assert found.sizes == {"train": 974, "validation": 108, "test": 360}
    whole = data.load("sklearn_digits", digits_dir, 0, test_fraction=0.5)
    test = gather(found.test, "label")
    every = np.concatenate([gather(p, "label") for p in (whole.train, whole.test)])
    share = np.bincount(test) / np.bincount(every)
    assert np.abs(share - 0.25).max() < 0.01
    same_images(data.load_as_trained(described(found), digits_dir), found)


# --- images without labels


def test_given_images_are_read_as_the_net_takes_them(tmp_path):
    write_image(tmp_path / "b.png", 1, (8, 8, 3))
    write_image(tmp_path / "deeper" / "c.webp", 2, (20, 16, 3))
    (tmp_path / "notes.txt").touch()
    found = data.images_of(str(tmp_path), (8, 8, 1), 10)
    assert found.shape == (2, 8, 8, 1) and found.dtype == np.uint8
    assert len(data.images_of(str(tmp_path), (8, 8, 3), 1)) == 1
    size = tf.image.resize(write_image(tmp_path / "b.png", 1), (8, 8), antialias=True)
    np.testing.assert_array_equal(
        data.images_of(str(tmp_path), (8, 8, 3), 10)[0], np.round(size)
    )


def test_given_images_are_refused_in_a_line(tmp_path):
    shape, missing = (8, 8, 3), str(tmp_path / "missing")
    assert "a folder of images" in refusal(data.images_of, missing, shape, 1)
    assert "images in the folder" in refusal(data.images_of, str(tmp_path), shape, 1)
    (tmp_path / "a.png").write_bytes(b"")
    message = refusal(data.images_of, str(tmp_path), shape, 1)
    assert "1 that cannot be read: a.png (empty): repair" in message
    assert "1 or 3 channels" in refusal(data.images_of, str(tmp_path), (8, 8, 4), 1)
    assert os.listdir(tmp_path) == ["a.png"]
