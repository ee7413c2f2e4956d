"""Checks what a net says of its training data, as a stranger may have written it.

    {"name": .., "image_shape": [H, W, C], "class_names": [..], "mean": [..],
     "std": [..], and what the data were loaded with}

See `ImageData.description`.
"""

import math

from cnet_tf import bounds
from trainers.data.augmentation import AUGMENTATIONS
from trainers.data.class_names import MOST_LETTERS, is_name, is_plain
from trainers.data.errors import DataError

# A net needs all of these to run on images.
KEYS = ("name", "image_shape", "class_names", "mean", "std")
_MOST_PATH = 4096


def checked(metadata: dict, where, net=None) -> dict:
    """Returns the `"data"` of a net's metadata, after checking every entry.

    Args:
        metadata: Metadata of a checkpoint.
        where: What it was read from, for messages.
        net: The net, whose input and output they must fit. Default: not compared.

    Raises:
        DataError: an entry is missing or invalid; names the entry.
    """
    try:
        return _checked(metadata, net)
    except ValueError as error:
        raise DataError(f"{where}: {error} Restore the file, or train again.") from None


def check_new(data: dict) -> None:
    """Refuses, before training, data that would be refused when the net is read.

    Args:
        data: See `ImageData.description`.

    Raises:
        DataError: names the entry.
    """
    try:
        _checked({"data": data})
    except ValueError as error:
        raise DataError(
            f"dataset: {error} A net with this entry could not be read back: rename or "
            "resize what it names."
        ) from None


def _checked(metadata, net=None) -> dict:
    data = metadata.get("data")
    _expect(isinstance(data, dict), "data", "what it was trained on", data)
    for key in KEYS:
        _expect(key in data, key, "an entry of its data", "none")
    bounds.check(data.items(), bounds.DATA)
    for key, (expected, holds) in _ENTRIES.items():
        if key in data:
            _expect(holds(data[key]), key, expected, data[key])
    shape, names = data["image_shape"], data["class_names"]
    bounds.check_elements([("image_shape", shape)])
    _check_names(names)
    for key in ("mean", "std"):
        expected = f"a number for each of {shape[2]} channels"
        _expect(_numbers(data[key], shape[2]), key, expected, data[key])
    if net is not None:
        _check_net(net, shape, names)
    return data


def _check_names(names):
    _expect(isinstance(names, list), "class_names", "a list of names", names)
    most = bounds.MOST_CLASSES
    expected = f"1 to {most:,} names"
    _expect(1 <= len(names) <= most, "class_names", expected, len(names))
    expected = f"names of 1 to {MOST_LETTERS} characters, all of them visible"
    for name in names:
        _expect(is_name(name), "class_names", expected, name)
    _expect(len(set(names)) == len(names), "class_names", "each name once", names)


def _check_net(net, shape, names):
    if len(net.inputs) == 1:
        sizes = net.input_shape[1:]
        fits = len(sizes) == len(shape) and all(
            a in (None, b) for a, b in zip(sizes, shape, strict=True)
        )
        _expect(fits, "image_shape", f"that of the net, {sizes}", shape)
    if len(net.outputs) == 1:
        logits = net.output_shape[-1]
        expected = f"a name for each of the {logits} outputs of the net"
        _expect(logits == len(names), "class_names", expected, len(names))


def _numbers(values, count) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and not any(v is None or isinstance(v, list) for v in values)
    )


def _path(value) -> bool:
    """Whether it is a one-line path or name, and not a network address."""
    return (
        isinstance(value, str)
        and len(value) <= _MOST_PATH
        and is_plain(value)
        and "://" not in value
    )


def _fraction(value) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value < 1
    )


def _of_parts(value, holds) -> bool:
    return isinstance(value, dict) and all(map(holds, value.values()))


def _count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_LOCAL = "a name or a path on this machine"
# Entries that bounds on numbers do not settle; older nets lack some of them.
_ENTRIES = {
    "name": (_LOCAL, _path),
    "image_shape": ("three sizes", lambda value: _numbers(value, 3)),
    "found_in": (_LOCAL, lambda value: value is None or _path(value)),
    "augment": (f"one of {', '.join(AUGMENTATIONS)}", lambda v: v in [*AUGMENTATIONS]),
    "skip_broken": ("true or false", lambda value: isinstance(value, bool)),
    "validation_fraction": ("a number in [0, 1)", _fraction),
    "test_fraction": ("a number in [0, 1)", _fraction),
    "image_size": (
        "a side, or height and width",
        lambda value: not isinstance(value, list) or _numbers(value, 2),
    ),
    "seed": ("an integer", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "cutout": ("an integer", lambda value: isinstance(value, int)),
    "sizes": (
        "a number of images for each part",
        lambda value: _of_parts(value, _count),
    ),
    "contents": (
        "a digest for each part",
        lambda value: _of_parts(value, lambda one: isinstance(one, str)),
    ),
}


def _expect(holds, name, expected, received):
    if not holds:
        raise ValueError(f"{name}: expected {expected}. Received {received!r}.")
