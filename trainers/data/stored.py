"""What a source of images has to say of a set."""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A set that is asked for.

    Attributes:
        name: As a user gives it.
        data_dir: Where to look instead of where it usually is. Default: None.
        found_in: Where it was found before, to look there too. Default: None.
        prepare: Whether it may be downloaded and prepared. Default: yes.
        skip_broken: Whether images that cannot be read are left out. Default: no.
    """

    name: str
    data_dir: str | None = None
    found_in: str | None = None
    prepare: bool = True
    skip_broken: bool = False


@dataclasses.dataclass(frozen=True)
class Stored:
    """A prepared image classification set, whatever it is stored in.

    Attributes:
        name: A name by which it is found from any folder.
        splits: Examples by name of the split; some may be empty.
        image_shape: (height, width, channels), None where images differ.
        class_names: One name per label.
        keys: The keys of image (uint8) and label in an example.
        read: Function (split, positions) to the examples at these positions of a split;
            positions increase.
        labels: Function of a split to the labels of all its examples, in order.
        found_in: The folder that such sets are kept in, where the name does not tell.
        files_sha256: Of the names and sizes of its files, where it is a folder.
        sizes: Those of images that differ, in words; empty if the set does not tell.
        broken: Function to a line on images that cannot be read; empty if all can or
            nobody knows.
    """

    name: str
    splits: dict[str, int]
    image_shape: tuple
    class_names: tuple[str, ...]
    keys: tuple[str, str]
    read: Callable[[str, np.ndarray], tf.data.Dataset]
    labels: Callable[[str], np.ndarray]
    found_in: str | None = None
    files_sha256: str | None = None
    sizes: str = ""
    broken: Callable[[], str] = str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where sets come from; an entry of `sources.SOURCES`.

    Attributes:
        claims: Whether a name is one of this source's.
        open: Function of a `Wanted` to a `Stored`.
        names: Function to the names it knows, to suggest some.
    """

    claims: Callable[[str], bool]
    open: Callable[[Wanted], Stored]
    names: Callable[[], Collection[str]] = tuple


class UnknownSetError(LookupError):
    """No set has that name."""
