"""Decides which stored examples are for training, validation and testing."""

import dataclasses

import numpy as np

from trainers.data.errors import refuse, tell
from trainers.data.stored import Stored


@dataclasses.dataclass(frozen=True)
class Part:
    """The examples of one part.

    Attributes:
        split: The split that they are stored in.
        positions: Their positions in it, increasing; none if the part is empty.
        first: The number of the first one among those of train and validation.
    """

    split: str
    positions: np.ndarray
    first: int = 0

    def __len__(self):
        return len(self.positions)


def parts(
    stored: Stored, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, Part]:
    """Divides a set into `train`, `validation` and `test`.

    A set's own splits are used where it has them. Its `validation` serves for testing
    if it has no `test` and none is held out.

    Args:
        stored: The set.
        validation_fraction: Part of the remaining `train` to take from its end. If the
            set has a split for validation, 0 leaves that out, and other values take
            nothing from `train`.
        test_fraction: Part of each class of `train` to hold out, 0 for none.
        seed: Seed of what is held out for testing.

    Raises:
        DataError: a part would be empty or is missing, or there would be two to test
            on.
    """
    has = sorted(split for split, size in stored.splits.items() if size)
    if "train" not in has:
        _refuse_splits(stored, has, "add the missing split or choose another set")
    if test_fraction and "test" in has:
        refuse(
            "test_fraction",
            f"0, as {stored.name!r} has its own test split",
            repr(test_fraction),
            "leave the option out",
        )
    own = next((s for s in ("test", "validation") if s in has), None)
    if test_fraction:
        held_out = _held_out(stored, test_fraction, seed)
        test = Part("train", held_out)
    elif own:
        held_out = np.arange(0)
        test = Part(own, np.arange(stored.splits[own]))
    else:
        _refuse_splits(
            stored,
            has,
            "hold out a part of train, as with --test_fraction=0.2, or choose another "
            "set",
        )
    left = np.delete(np.arange(stored.splits["train"]), held_out)
    if "validation" in has and test.split != "validation":
        size = stored.splits["validation"]
        if validation_fraction:
            tell(
                f"{stored.name}: validation is its own split of {size} images; "
                "validation_fraction holds nothing out"
            )
        own_validation = np.arange(size if validation_fraction else 0)
        return {
            "train": Part("train", left),
            "validation": Part("validation", own_validation),
            "test": test,
        }
    count = len(left)
    kept = count - round(count * validation_fraction)
    if not kept or (validation_fraction and kept == count):
        refuse(
            "validation_fraction",
            f"one that leaves both parts of {count} examples non-empty",
            repr(validation_fraction),
            "choose another fraction, or 0",
        )
    return {
        "train": Part("train", left[:kept]),
        "validation": Part("train", left[kept:], kept),
        "test": test,
    }


def _held_out(stored, fraction, seed) -> np.ndarray:
    """Returns positions in `train` of a random part of each class, in proportion."""
    labels = stored.labels("train")
    rank = np.empty(len(labels))
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    count = round(len(labels) * fraction)
    if not 0 < count < len(labels):
        refuse(
            "test_fraction",
            f"one that leaves both parts of {len(labels)} examples non-empty",
            repr(fraction),
            "choose another fraction",
        )
    return np.sort(np.argsort(rank, kind="stable")[:count])


def _refuse_splits(stored, has, remedy):
    refuse(
        "dataset",
        "a set with examples in splits train and test",
        f"{stored.name!r} with {has}",
        remedy,
    )
