"""Train, validation and test: a set's own splits, and parts that are held out."""

import numpy as np
import pytest
import tensorflow as tf
from image_sets import is_one_line

from trainers.data.errors import DataError
from trainers.data.splits import parts
from trainers.data.stored import Stored

LABELS = np.repeat([0, 1, 2], [50, 40, 10])  # Sorted by class, as some sets are.


def stored(**splits):
    return Stored(
        name="some",
        splits=splits,
        image_shape=(8, 8, 3),
        class_names=("a", "b", "c"),
        keys=("image", "label"),
        read=lambda split, positions: tf.data.Dataset.range(0),
        labels=lambda split: LABELS,
    )


def positions(found):
    return {name: part.positions.tolist() for name, part in found.items()}


def test_a_held_out_test_set_is_a_part_of_each_class():
    found = parts(stored(train=100), 0.1, 0.2, seed=0)
    every = positions(found)
    assert sorted(sum(every.values(), [])) == list(range(100))
    assert np.bincount(LABELS[every["test"]]).tolist() == [10, 8, 2]
    assert {name: len(part) for name, part in found.items()} == {
        "train": 72,
        "validation": 8,
        "test": 20,
    }
    # Numbered by what is left, as draws of augmentation are.
    assert (found["train"].first, found["validation"].first) == (0, 72)


def test_it_is_a_function_of_the_seed():
    test = [positions(parts(stored(train=100), 0, 0.2, s))["test"] for s in (0, 0, 1)]
    assert test[0] == test[1] != test[2]
    # And not of what is held out for validation.
    assert positions(parts(stored(train=100), 0.3, 0.2, 0))["test"] == test[0]


def test_its_size_is_what_was_asked_for_even_of_few_images():
    assert len(parts(stored(train=100), 0, 0.01, 0)["test"]) == 1
    assert len(parts(stored(train=100), 0, 0.99, 0)["test"]) == 99


@pytest.mark.parametrize(
    "splits, validation, test, expected",
    [
        ({"train": 10, "test": 4}, 0.2, 0, ("train", 2, "test", 4)),
        ({"train": 10, "test": 4}, 0, 0, ("train", 0, "test", 4)),
        ({"train": 10, "validation": 3}, 0.2, 0, ("train", 2, "validation", 3)),
        (
            {"train": 10, "validation": 3, "test": 0},
            0,
            0,
            ("train", 0, "validation", 3),
        ),
        (
            {"train": 10, "validation": 3, "test": 4},
            0.2,
            0,
            ("validation", 3, "test", 4),
        ),
        ({"train": 10, "validation": 3, "test": 4}, 0, 0, ("validation", 0, "test", 4)),
        ({"train": 100, "validation": 3}, 0.2, 0.1, ("validation", 3, "train", 10)),
    ],
)
def test_own_splits_are_used(splits, validation, test, expected):
    found = parts(stored(**splits), validation, test, seed=0)
    held, scored = found["validation"], found["test"]
    assert (held.split, len(held), scored.split, len(scored)) == expected


def test_an_own_validation_split_is_told(capsys):
    parts(stored(train=10, validation=3, test=4), 0.1, 0, 0)
    assert "validation is its own split of 3 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    "splits, fraction, message",
    [
        ({"train": 100}, 0, "hold out a part of train, as with --test_fraction=0.2"),
        ({"test": 100}, 0, "expected a set with examples in splits train and test"),
        ({"train": 100, "test": 9}, 0.1, "test_fraction: expected 0, as 'some' has"),
        ({"train": 100}, 0.001, "test_fraction: expected one that leaves both parts"),
        ({"train": 100}, 0.999, "test_fraction: expected one that leaves both parts"),
    ],
)
def test_refusals(splits, fraction, message):
    with pytest.raises(DataError, match=message) as error:
        parts(stored(**splits), 0, fraction, 0)
    assert is_one_line(error)
