"""What a run does, decided before anything is built."""

import dataclasses

import tensorflow as tf
from pytest import mark, raises

from trainers.data import DataError
from trainers.errors import OptionError
from trainers.options import Options
from trainers.place import Place
from trainers.plan import Plan


def plan(data, batch_size, **changes):
    return Plan(
        Options(**changes), Place(tf.distribute.get_strategy(), batch_size), data
    )


@mark.parametrize("asked, expected", [(None, 0), (3, 3), (10**6, 0)])
def test_an_epoch_has_the_whole_batches_or_fewer_if_asked(digits, asked, expected):
    found = plan(digits, 32, batches_per_epoch=asked).per_epoch
    assert found == (expected or digits.sizes["train"] // 32)


def test_a_batch_larger_than_the_set_is_refused(digits):
    size = digits.sizes["train"]
    assert plan(digits, size).per_epoch == 1
    with raises(OptionError, match=f"--batch_size: expected at most {size}, .*Rec"):
        plan(digits, size + 1)


@mark.parametrize(
    "change",
    [
        {"class_names": ("x" * 256, *"123456789")},
        {"name": "folder:/a\tb"},
        {"image_shape": (5000, 8, 1)},
        {"std": (1e-12,)},
    ],
)
def test_data_that_no_net_could_be_read_back_with_are_refused_before(digits, change):
    (name,) = change
    with raises(DataError, match=f"dataset: {name}: expected .* read back: rename"):
        plan(dataclasses.replace(digits, **change), 32)


def test_metadata_are_those_of_the_data_and_of_the_training(digits):
    data = plan(digits, 32, augment="crop").metadata["data"]
    assert data["augment"] == "crop" and data["name"] == "digits"
    assert data["image_shape"] == [8, 8, 1] and len(data["class_names"]) == 10
    assert data["mean"] == list(digits.mean) and data["std"] == list(digits.std)
