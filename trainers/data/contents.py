"""What the images of a part are: their statistics and a digest of all of them.

Names and sizes of files are not enough: two images may have changed places.
"""

import dataclasses
import hashlib

import numpy as np
import tensorflow as tf

_DIGITS = 16  # Of a sha256; nobody tries to make these collide.
# JPEG decoders differ by less, in means and deviations of pixels in 0..1.
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Contents:
    """What was read of a part.

    Attributes:
        mean: Per channel, of x/255.
        std: Per channel, of x/255; 1 for a constant channel.
        sha256: First digits of the sha256 of pixels and labels, in order.
        labels: The smallest and the largest label.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    labels: tuple[int, int]


def read(examples: tf.data.Dataset) -> Contents:
    """Reads all examples of a part, which also finds unreadable ones.

    Args:
        examples: `{"image": uint8 (H, W, C), "label": int64, ..}`, at least one.
    """

    def sums(batch):
        x = tf.cast(batch["image"], tf.int64)
        count = tf.size(x[..., 0], tf.int64)
        totals = count, tf.reduce_sum(x, [0, 1, 2]), tf.reduce_sum(x * x, [0, 1, 2])
        return totals, batch["image"], batch["label"]

    count, total, squares = 0, 0, 0
    images, labels = hashlib.sha256(), hashlib.sha256()
    ends = []
    batches = examples.batch(256).map(sums, tf.data.AUTOTUNE, deterministic=True)
    for (n, s, q), image, label in batches.as_numpy_iterator():
        count, total, squares = count + int(n), total + s, squares + q
        images.update(image)
        labels.update(label.astype("<i8"))
        ends += [int(label.min()), int(label.max())]
    mean = tuple(int(s) / (255 * count) for s in total)
    # n q - s^2 in Python's integers: no cancellation, no overflow.
    variance = (
        (count * int(q) - int(s) ** 2) / (255 * count) ** 2
        for s, q in zip(total, squares, strict=True)
    )
    # A constant channel has nothing to scale: only its mean is subtracted.
    std = tuple(v**0.5 or 1.0 for v in variance)
    images.update(labels.digest())
    return Contents(mean, std, images.hexdigest()[:_DIGITS], (min(ends), max(ends)))


def changes(then: dict, now: dict) -> str:
    """Says how data differ from those that a net was trained on; empty if equal.

    Args:
        then: The description of those, see `ImageData`; entries that an older net
            lacks are not compared.
        now: The description of the data at hand.
    """
    sizes, found = then.get("sizes") or {}, []
    for part, size in now["sizes"].items():
        if sizes.get(part, size) != size:
            found.append(f"{part} has {size:,} images (was {sizes[part]:,})")
        elif _differ(part, then, now):
            found.append(f"{part} has other images or labels")
    if then.get("contents"):  # The digests settle it.
        return ", ".join(found)
    found += [
        f"the {key} of train is {_numbers(now[key])} (was {_numbers(then[key])})"
        for key in ("mean", "std")
        if not np.allclose(then[key], now[key], rtol=0, atol=_TOLERANCE)
    ]
    if not found and _differ_in("files_sha256", then, now):
        found.append("its files have other names or sizes")
    return ", ".join(found)


def changed(changes: str) -> str:
    """Returns a sentence on `changes` for readers of results; empty without changes."""
    if not changes:
        return ""
    return f"These are not the data that the net was trained on: {changes}."


def mixes_parts(then: dict, now: dict) -> bool:
    """Whether test images may be among those that a net was trained on.

    They may if they are drawn from `train` and its images were others then.
    """
    if not now["test_fraction"] or then.get("contents") == now["contents"]:
        return False
    return _differ_in("sizes", then, now) or _differ_in("files_sha256", then, now)


def _differ(part, then, now) -> bool:
    was, known = then.get("contents") or {}, now["contents"]
    # A part that was not read is not known to differ.
    return part in was and part in known and was[part] != known[part]


def _differ_in(key, then, now) -> bool:
    return then.get(key) is not None and then[key] != now[key]


def _numbers(values) -> str:
    return " ".join(f"{value:.4g}" for value in values)
