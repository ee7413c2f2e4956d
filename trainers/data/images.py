"""Image classification data: loading, splits, statistics.

data = load("cifar10", data_dir="/data/tfds")
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from trainers.data import contents
from trainers.data.class_names import composed
from trainers.data.errors import refuse, tell
from trainers.data.folder import refuse_broken
from trainers.data.sources import open_set
from trainers.data.splits import Part, parts
from trainers.data.stored import Stored, Wanted
from trainers.data.untuned import untuned

# Keys of `ImageData.description` that say where the data are, not what they are.
PLACES = ("name", "found_in")
PARTS = ("train", "validation", "test")
# Decoded images are kept in memory up to this size, and so is a shuffle buffer.
MEMORY_BYTES = 2 * 1024**3


@dataclasses.dataclass(frozen=True)
class ImageData:
    """An image classification set, un-augmented and in a fixed order.

    Elements of each data set are `{"index": int64, "image": uint8 (H, W, C), "label":
    int64}`, where `index` counts those of train, then those held out for validation.

    Attributes:
        name: A name by which it is loaded from any working directory.
        train: Training examples, `index` 0..n-1. In memory when the whole set fits.
        validation: Examples to validate on, or None.
        test: Test examples.
        sizes: Examples in each of `train`, `validation` (0 when None) and `test`.
        image_shape: (height, width, channels).
        class_names: One name per label.
        mean: Per channel, of x/255 over `train`.
        std: Per channel, of x/255 over `train`; 1 for a constant channel.
        settings: Arguments of `load` that decide the parts and sizes.
        found_in: The folder where such sets are kept, if the name does not tell.
        files_sha256: Hash of the names and sizes of its files, if it is a folder.
        contents: Digest of the images and labels of each part that was read.
        changes: How it differs from what a net was trained on, in words; empty if it
            does not, or if there is no net to compare with.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    sizes: dict[str, int]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settings: dict = dataclasses.field(default_factory=dict)
    found_in: str | None = None
    files_sha256: str | None = None
    contents: dict = dataclasses.field(default_factory=dict)
    changes: str = ""

    @property
    def description(self) -> dict:
        """Plain data from which `load_as_trained` loads the same data again."""
        return {
            "name": self.name,
            "found_in": self.found_in,
            **self.settings,
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
            "sizes": self.sizes,
            "mean": [float(v) for v in self.mean],
            "std": [float(v) for v in self.std],
            "files_sha256": self.files_sha256,
            "contents": self.contents,
        }


def load(
    dataset: str,
    data_dir: str | None = None,
    validation_fraction: float = 0.1,
    image_size: int | tuple[int, int] | None = None,
    test_fraction: float = 0.0,
    seed: int = 0,
    skip_broken: bool = False,
) -> ImageData:
    """Loads an image classification set.

    The test split is the set's `test`, or its `validation` where it has no `test`.

    Args:
        dataset: `digits`, a TFDS name such as `cifar10`, or `folder:/path` for images
            at /path/<split>/<label>/, see `folder_tree`; they are read as RGB.
        data_dir: Where TFDS keeps prepared sets. Default: the environment's
            TFDS_DATA_DIR, then ~/tensorflow_datasets. A set not prepared there is
            prepared there, by a download unless it is `digits`. For `folder:/path`, the
            folder it was moved to.
        validation_fraction: Part of `train` to hold out, in [0, 1). Default: 0.1.
        image_size: Side, or (height, width), to resize to, whatever the proportions.
            Default: no resizing, which needs a set whose images have one shape.
        test_fraction: Part of each class of `train` to hold out for testing, in [0, 1),
            for a set without a test split. Default: 0.
        seed: Seed of what is held out for testing. Default: 0.
        skip_broken: Whether to leave out unreadable images of a folder. Default: no.

    Returns:
        An `ImageData`.

    Raises:
        DataError: If an argument is out of range, or the set is unknown, cannot be
            prepared, is not for image classification, or has images that are of unknown
            shape or unreadable.
    """
    wanted = Wanted(dataset, data_dir, skip_broken=skip_broken)
    settings = {
        "image_size": image_size,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "skip_broken": skip_broken,
    }
    return _loaded(wanted, settings)


def load_as_trained(
    description: dict, data_dir: str | None = None, needed: tuple[str, ...] = PARTS
) -> ImageData:
    """Loads the data a net was trained on, in the same parts and normalised as then.

    Nothing is downloaded: sets of TFDS have to be prepared.

    Args:
        description: The `"data"` of a checkpoint's metadata, see `ImageData`.
        data_dir: As for `load`.
        needed: Parts to read and to compare with those of then. Other parts can still
            be used, but their contents are not checked. Default: all. All are read as
            well where only that shows whether they are the same: for older nets, and
            where test images are drawn from train.

    Raises:
        MissingData: the data are not there.
        DataError: as for `load`, or the data are no longer those of the net.
    """
    settings = {"image_size": None, "validation_fraction": 0.0, "test_fraction": 0.0}
    settings |= {"seed": 0, "skip_broken": False}
    settings |= {key: description[key] for key in settings if key in description}
    wanted = Wanted(
        description["name"],
        data_dir,
        description.get("found_in"),
        prepare=False,
        skip_broken=settings["skip_broken"],
    )
    if settings["test_fraction"] or not description.get("contents"):
        needed = PARTS
    data = _loaded(wanted, settings, needed)
    return dataclasses.replace(
        data,
        mean=description["mean"],
        std=description["std"],
        changes=_changes(data, description),
    )


def _changes(data, description) -> str:
    """Says how the data differ from a net's; refuses those that cannot be used.

    Classes and image shapes must fit. If the net may have learned from images to test
    on, all accuracies would be too good.
    """
    expected = description["class_names"]
    # Older nets saved names that are not composed.
    if list(data.class_names) != [composed(name) for name in expected]:
        refuse(
            "data_dir",
            f"{description['name']!r} with the classes of the net, {_brief(expected)}",
            _brief(data.class_names),
            "name the folder of the data that the net was trained on, as it was then",
        )
    shape = tuple(description.get("image_shape", data.image_shape))
    if data.image_shape != shape:
        refuse(
            "data_dir",
            f"{description['name']!r} with images of shape {shape}, as trained on",
            str(data.image_shape),
            "name the folder of the data that the net was trained on, as it was then",
        )
    changes = contents.changes(description, data.description)
    if contents.mixes_parts(description, data.description):
        refuse(
            "data_dir",
            f"{description['name']!r} as the net was trained on, as its test images "
            "are drawn from the training images",
            f"other data, {changes}, so the net may have learned from test images",
            "restore them, or give an export --images=<folder of images>",
        )
    if changes:
        tell(f"{data.name}: {contents.changed(changes)}")
    return changes


def _loaded(wanted: Wanted, settings: dict, needed=PARTS) -> ImageData:
    for name in ("validation_fraction", "test_fraction"):
        if not 0 <= settings[name] < 1:
            refuse(name, "a number in [0, 1)", repr(settings[name]), "use 0 for none")
    size = _checked_size(settings["image_size"])
    stored = open_set(wanted)
    shape = (*(size or stored.image_shape[:2]), stored.image_shape[-1])
    if None in shape:
        refuse(
            "image_size",
            f"a size, as {stored.name!r} has images of {stored.sizes or 'any size'}",
            repr(settings["image_size"]),
            "give one, for example 32",
        )
    if size and None in stored.image_shape and stored.sizes:
        tell(
            f"{stored.name}: {stored.sizes}, become {size[0]} x {size[1]} regardless "
            "of their proportions"
        )
    split = (settings[key] for key in ("validation_fraction", "test_fraction", "seed"))
    chosen = parts(stored, *split)
    sizes = {name: len(part) for name, part in chosen.items()}
    fits = sum(sizes.values()) * math.prod(shape) <= MEMORY_BYTES
    try:
        found, read = {}, {}
        for name, part in chosen.items():
            if not len(part):
                continue
            examples = untuned(_read(stored, part, size))
            if name in needed:
                examples = untuned(_in_memory(examples)) if fits else examples
                # Reads all of it, so that unreadable images are found before training.
                read[name] = contents.read(examples)
                _check_labels(stored, name, read[name].labels)
            found[name] = examples
    except tf.errors.OpError as error:
        if listed := stored.broken():
            refuse_broken(stored.name, listed)
        refuse(
            "dataset",
            "readable images",
            f"{stored.name!r}: {error.message}",
            "repair or remove them",
        )
    return ImageData(
        name=stored.name,
        train=found["train"],
        validation=found.get("validation"),
        test=found["test"],
        sizes=sizes,
        image_shape=shape,
        class_names=stored.class_names,
        mean=read["train"].mean if "train" in read else (),
        std=read["train"].std if "train" in read else (),
        settings=settings,
        found_in=stored.found_in,
        files_sha256=stored.files_sha256,
        contents={name: part.sha256 for name, part in read.items()},
    )


def _check_labels(stored, part, found):
    """Refuses labels of no class, whose loss would be zero."""
    last = len(stored.class_names) - 1
    if found[0] < 0 or found[1] > last:
        refuse(
            "dataset",
            f"labels 0..{last} in all of its {part} images",
            f"{stored.name!r}, with labels {found[0]}..{found[1]}",
            "leave out the images without a class",
        )


def _brief(names) -> str:
    return f"{len(names)}: {', '.join(list(names)[:3])}, .."


def _read(stored: Stored, part: Part, size) -> tf.data.Dataset:
    """Returns the examples of a part, in stored order, resized."""
    image_key, label_key = stored.keys

    def select(index, example):
        image = resized(example[image_key], size)
        return {"index": index, "image": image, "label": example[label_key]}

    return (
        stored.read(part.split, part.positions)
        .enumerate(part.first)
        .map(select, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )


def resized(image, size) -> tf.Tensor:
    """Resizes an image to (height, width), uint8; unchanged if size is None."""
    if size is None:
        return image
    image = tf.image.resize(image, size, antialias=True)
    return tf.saturate_cast(tf.round(image), tf.uint8)


def _in_memory(dataset: tf.data.Dataset) -> tf.data.Dataset:
    # Not `Dataset.cache`, which reads at first use: an unreadable test image should
    # be found before training, not after it.
    chunks = list(dataset.batch(1024).as_numpy_iterator())
    arrays = {
        key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]
    }
    with tf.device("CPU"):
        return tf.data.Dataset.from_tensor_slices(arrays)


def _checked_size(image_size) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(side < 1 for side in size):
        refuse(
            "image_size",
            "a side or (height, width), at least 1",
            repr(image_size),
            "give another",
        )
    return size
