"""The images on which an export is compared with Keras, wherever they come from."""

import dataclasses

import numpy as np

from export.calibration import SMALLEST, USUAL
from trainers.data import ImageData, MissingData, images_of, load_as_trained
from trainers.data.contents import changed
from trainers.data.errors import tell
from trainers.data.generated import GENERATED, generated, unlabelled
from trainers.errors import OptionError

_NO_ACCURACY = "No accuracy was measured: "


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which images to compare an export on, and what to learn from others.

    Attributes:
        folder: Folder of images that replace the data set, or None.
        data_dir: Where the data set is, or None.
        compared: Number of images to compare on.
        asked: The option that requires ranges learned from images, and its value, such
            as `("precision", "int8")`; None if nothing has to be learned.
        learned: Number of images to learn them from. None: the usual number.
        recalibrate: Number of batches to re-estimate the norms on; 0 for none.
        train: Whether to read training images too. Default: yes.
    """

    folder: str | None
    data_dir: str | None
    compared: int
    asked: tuple[str, str] | None = None
    learned: int | None = None
    recalibrate: int = 0
    train: bool = True


@dataclasses.dataclass(frozen=True)
class ComparedImages:
    """The images to compare an export on, and to learn integer ranges from.

    Attributes:
        data: `test` to compare on, `train` to learn from.
        unmeasured: A sentence on what could not be measured, or not on the training
            data; empty if everything was.
        made_up: Whether they are generated, so that nothing can be learned from them.
    """

    data: ImageData
    unmeasured: str = ""
    made_up: bool = False

    @property
    def learnable(self) -> bool:
        """Whether there are enough images to learn ranges from."""
        return not self.made_up and self.data.sizes["train"] >= SMALLEST

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the first images, uint8 (B, H, W, C), and their labels, int64 (B,).

        Labels are None if unknown.
        """
        batch = next(self.data.test.take(count).batch(count).as_numpy_iterator())
        return batch["image"], batch.get("label")


def chosen(description: dict, wanted: Wanted) -> ComparedImages:
    """Returns images of the given folder, else of the data set, else generated ones.

    A run needs no data set if nothing is learned from it; a missing one is reported in
    one line.

    Args:
        description: The net's description of its data.
        wanted: What is requested.

    Raises:
        OptionError: there are no images to learn from.
        DataError: the data cannot be read, differ from those of the net, or are missing
            from a given `--data_dir`.
    """
    if wanted.folder:
        limit = max(wanted.compared, wanted.learned or USUAL)
        images = images_of(wanted.folder, description["image_shape"], limit)
        return ComparedImages(
            unlabelled(images, {**description, "name": wanted.folder}),
            f"{_NO_ACCURACY}exports were compared with Keras on given images without "
            "labels.",
        )
    if description["name"] == GENERATED:
        why = "a .keras file does not say what it was trained on"
        _refuse_learning(wanted, why)
        return _generated(description, why)
    try:
        parts = ("train", "test") if wanted.train else ("test",)
        data = load_as_trained(description, wanted.data_dir, parts)
        return ComparedImages(data, changed(data.changes))
    except MissingData as error:
        _refuse_learning(wanted, str(error))
        if wanted.data_dir:
            raise
        tell(f"exports are compared with Keras on generated images. {error}")
        return _generated(description, "the data set of the net was not found")


def _generated(description, why) -> ComparedImages:
    return ComparedImages(
        generated(description),
        f"{_NO_ACCURACY}{why}, so exports were compared with Keras on generated "
        "images.",
        made_up=True,
    )


def _refuse_learning(wanted, why) -> None:
    """Refuses to learn from images if there are none."""
    if wanted.recalibrate:
        raise OptionError(
            f"--recalibrate: expected 0 without training images. Received "
            f"{wanted.recalibrate}, but {why.rstrip('.')}: give --data_dir, or leave "
            "--recalibrate out."
        )
    if wanted.asked:
        name, value = wanted.asked
        raise OptionError(
            f"--{name}: expected one that learns nothing from images, or images to "
            f"learn from. Received {value!r}, but {why.rstrip('.')}: give "
            "--images=<folder of images> or, for a run, --data_dir."
        )
