"""The images on which an export is compared with Keras, wherever they come from."""

import dataclasses

import numpy as np

from export.calibration import SMALLEST, USUAL
from export.generated_images import generated, unlabelled
from export.source import Source
from trainers.data import ImageData, MissingData, images_of
from trainers.data.errors import tell
from trainers.errors import OptionError

_NO_ACCURACY = "No accuracy was measured: "


@dataclasses.dataclass(frozen=True)
class ComparedImages:
    """What an export is compared on, and what an integer one learns ranges on.

    Attributes:
        data: `test` to compare on, `train` to learn from.
        unmeasured: A sentence on what could not be measured; empty if all was.
        made_up: Whether they are generated, so that nothing is to be learned from them.
    """

    data: ImageData
    unmeasured: str = ""
    made_up: bool = False

    @property
    def learnable(self) -> bool:
        """Whether there are images enough to learn ranges from."""
        return not self.made_up and self.data.sizes["train"] >= SMALLEST

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The first images and their labels, uint8 (B, H, W, C) and int64 (B,).

        Labels are None where nobody knows them.
        """
        batch = next(self.data.test.take(count).batch(count).as_numpy_iterator())
        return batch["image"], batch.get("label")


def chosen(source: Source, options, learned: tuple[str, str] | None) -> ComparedImages:
    """The images of `--images`, else those of the data set, else generated ones.

    A run needs no data set where nothing is learned from it: what is not there is told
    in a line.

    Args:
        source: What is exported.
        options: Of an export or a report.
        learned: The option that asks for ranges of training images, and its value, as
            (`precision`, `int8`). None if there is none.

    Raises:
        OptionError: there are no images to learn from.
        DataError: the data cannot be read, or are others than those of the net; there
            are none where `--data_dir` says.
    """
    if options.images:
        return _given(source, options)
    if source.knows_no_data:
        why = "a .keras file does not say what it was trained on"
        _refuse_learning(options, learned, why)
        return _generated(source, why)
    try:
        return ComparedImages(source.load_data(options.data_dir))
    except MissingData as error:
        _refuse_learning(options, learned, str(error))
        if options.data_dir:
            raise
        tell(f"exports are compared with Keras on generated images. {error}")
        return _generated(source, "the data set of the net was not there")


def _generated(source, why) -> ComparedImages:
    return ComparedImages(
        generated(source.data),
        f"{_NO_ACCURACY}{why}, so exports were compared with Keras on generated "
        "images.",
        made_up=True,
    )


def _given(source, options) -> ComparedImages:
    learned = getattr(options, "calibration_images", None) or USUAL
    limit = max(options.accuracy_images, learned)
    images = images_of(options.images, source.data["image_shape"], limit)
    return ComparedImages(
        unlabelled(images, {**source.data, "name": options.images}),
        f"{_NO_ACCURACY}exports were compared with Keras on given images, of which "
        "nobody said what they show.",
    )


def _refuse_learning(options, learned, why) -> None:
    """Refuses options that learn from images where there are none."""
    if options.recalibrate:
        raise OptionError(
            f"--recalibrate: expected 0 without training images. Received "
            f"{options.recalibrate}, but {why.rstrip('.')}: give --data_dir, or leave "
            "it out."
        )
    if learned:
        name, value = learned
        raise OptionError(
            f"--{name}: expected one that learns nothing from images, or images to "
            f"learn from. Received {value!r}, but {why.rstrip('.')}: give "
            "--images=<folder of images>, of a run also --data_dir."
        )
