"""Data as a net was trained on: what changed since is told, or refused."""

import shutil

import numpy as np
import pytest
from image_sets import (
    described,
    load_folder,
    refusal,
    same_images,
    write_image,
    write_set,
)
from PIL import Image

from trainers import data


def an_image_more(root):
    write_image(root / "test" / "cat" / "9.png")


def exchanged(root):
    """As many images of the same mean, and under the same names."""
    one, other = (root / "train" / label / "0.png" for label in ("cat", "dog"))
    one.rename(root / "kept")
    other.rename(one)
    (root / "kept").rename(other)


def darker(root):
    path = root / "train" / "cat" / "0.png"
    Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)


@pytest.mark.parametrize(
    ("change", "forgotten", "told"),
    [
        (an_image_more, (), "test has 9 images (was 8)"),
        (exchanged, (), "train has other images or labels"),
        (darker, ("contents", "sizes"), "the mean of train is"),
        (an_image_more, ("contents", "sizes"), "its files have other names or sizes"),
    ],
)
def test_data_that_changed_since_the_training_are_told(
    tmp_path, capsys, change, forgotten, told
):
    """By older nets, which do not say all, too."""
    found = described(load_folder(write_set(tmp_path)))
    found = {key: value for key, value in found.items() if key not in forgotten}
    capsys.readouterr()
    assert not data.load_as_trained(found).changes
    assert not capsys.readouterr().err
    change(tmp_path)
    assert told in data.load_as_trained(found).changes
    (line,) = capsys.readouterr().err.splitlines()
    assert "These are not the data that the net was trained on" in line and told in line


def test_parts_that_are_not_needed_are_not_compared(tmp_path):
    found = described(load_folder(write_set(tmp_path)))
    exchanged(tmp_path)
    again = data.load_as_trained(found, needed=("test",))
    assert not again.changes and again.contents.keys() == {"test"}
    assert again.sizes == found["sizes"] and again.mean == found["mean"]
    an_image_more(tmp_path)
    again = data.load_as_trained(found, needed=("test",))
    assert again.changes == "test has 9 images (was 8)"


@pytest.mark.parametrize("forgotten", [(), ("contents",)])
def test_all_parts_are_read_where_one_alone_does_not_tell(tmp_path, forgotten):
    """Of older nets, and of test sets that are drawn from train."""
    root = write_set(tmp_path, ("train",) if not forgotten else ("train", "test"))
    found = described(load_folder(root, test_fraction=0.0 if forgotten else 0.25))
    found = {key: value for key, value in found.items() if key not in forgotten}
    again = data.load_as_trained(found, needed=("test",))
    assert again.contents.keys() == {"train", "test"}


def test_a_test_set_that_may_have_been_learned_is_refused(tmp_path):
    """Those to test on are drawn again, from others."""
    write_set(tmp_path, ("train",))
    found = described(load_folder(tmp_path, test_fraction=0.25))
    write_image(tmp_path / "train" / "cat" / "9.png")
    message = refusal(data.load_as_trained, found)
    assert "train has 7 images (was 6)" in message and "--images=" in message


def test_litter_changes_nothing(tmp_path, capsys):
    before = load_folder(write_set(tmp_path))
    write_image(tmp_path / "train" / ".ipynb_checkpoints" / "0.png")
    write_image(tmp_path / "test" / "cat" / "._0.jpg")
    same_images(data.load_as_trained(described(before)), before)
    assert not capsys.readouterr().err


def test_images_of_another_shape_are_refused(tmp_path):
    found = described(load_folder(write_set(tmp_path)))
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "test")
    write_set(tmp_path, shape=(4, 4, 3))
    message = refusal(data.load_as_trained, found)
    assert "images of shape (6, 7, 3), as trained on. Received (4, 4, 3)" in message
