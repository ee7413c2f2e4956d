"""What a source of images must say about a set."""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A requested set.

    Attributes:
        name: Its name as a user gives it.
        data_dir: Where to look instead of the usual folders. Default: None.
        found_in: Where it was found before, to look there too. Default: None.
        prepare: Whether it may be downloaded and prepared. Default: yes.
        skip_broken: Whether unreadable images are left out. Default: no.
    """

    name: str
    data_dir: str | None = None
    found_in: str | None = None
    prepare: bool = True
    skip_broken: bool = False


@dataclasses.dataclass(frozen=True)
class Stored:
    """A prepared image classification set, however it is stored.

    Attributes:
        name: A name by which it is found from any working directory.
        splits: Examples by name of the split; some may be empty.
        image_shape: (height, width, channels), None where images differ.
        class_names: One name per label.
        keys: The keys of image (uint8) and label in an example.
        read: Function from (split, positions) to the examples at these positions of
            that split; positions increase.
        labels: Function from a split to the labels of all its examples, in order.
        found_in: The folder where such sets are kept, if the name does not tell.
        files_sha256: Hash of the names and sizes of its files, if it is a folder.
        sizes: The sizes of its images, in words; empty if the set does not tell.
        broken: Function that returns a line on unreadable images; empty if there are
            none or nobody knows.
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
        open: Function from a `Wanted` to a `Stored`.
        names: Function that returns the names it knows, for suggestions.
    """

    claims: Callable[[str], bool]
    open: Callable[[Wanted], Stored]
    names: Callable[[], Collection[str]] = tuple


class UnknownSetError(LookupError):
    """No set has that name."""
