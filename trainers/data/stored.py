"""What a source of images has to say of a set."""

import dataclasses
from collections.abc import Callable, Collection

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Stored:
    """A prepared image classification set, whatever it is stored in.

    Attributes:
        splits: Examples by name of the split; some may be empty.
        image_shape: (height, width, channels), None where images differ.
        class_names: One name per label.
        keys: The keys of image (uint8) and label in an example.
        read: Function (split, start, stop) to the examples start..stop-1 of a split, in
            stored order.
    """

    splits: dict[str, int]
    image_shape: tuple
    class_names: tuple[str, ...]
    keys: tuple[str, str]
    read: Callable[[str, int, int], tf.data.Dataset]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where sets come from; an entry of `sources.SOURCES`.

    Attributes:
        claims: Whether a name is one of this source's.
        open: Function (name, data_dir) to a `Stored`; prepares the set if need be.
        names: Function to the names it knows, to suggest some.
    """

    claims: Callable[[str], bool]
    open: Callable[[str, str | None], Stored]
    names: Callable[[], Collection[str]] = tuple


class UnknownSetError(LookupError):
    """No set has that name."""
