"""The images on which an export is compared with Keras, wherever they come from."""

import dataclasses

import numpy as np

from export.generated_images import generated, unlabelled
from export.source import Source
from trainers.data import ImageData, MissingData, images_of
from trainers.data.contents import changed
from trainers.data.errors import tell
from trainers.errors import OptionError

_NO_ACCURACY = "No accuracy was measured: "


@dataclasses.dataclass(frozen=True)
class ComparedImages:
    """What an export is compared on, and what an integer one learns ranges on.

    Attributes:
        data: `test` to compare on, `train` to learn from.
        unmeasured: A sentence on what could not be measured, or not on the data of
            the training; empty if all was.
    """

    data: ImageData
    unmeasured: str = ""

    def first(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The first images and their labels, uint8 (B, H, W, C) and int64 (B,).

        Labels are None where nobody knows them.
        """
        batch = next(self.data.test.take(count).batch(count).as_numpy_iterator())
        return batch["image"], batch.get("label")


def chosen(source: Source, options, calibrated: bool) -> ComparedImages:
    """The images of `--images`, else those of the data set, else generated ones.

    A run needs no data set where nothing is learned from it: what is not there is told
    in a line.

    Args:
        source: What is exported.
        options: Of an export.
        calibrated: Whether ranges are learned on training images.

    Raises:
        OptionError: there are no images to learn from.
        DataError: the data cannot be read, or are others than those of the net; there
            are none where `--data_dir` says.
    """
    if options.images:
        return _given(source, options)
    if source.knows_no_data:
        why = "a .keras file does not say what it was trained on"
        _refuse_learning(options, calibrated, why)
        return _generated(source, why)
    try:
        data = source.load_data(options.data_dir)
        return ComparedImages(data, changed(data.changes))
    except MissingData as error:
        _refuse_learning(options, calibrated, str(error))
        if options.data_dir:
            raise
        tell(f"the export is compared with Keras on generated images. {error}")
        return _generated(source, "the data set of the net was not there")


def _generated(source, why) -> ComparedImages:
    return ComparedImages(
        generated(source.data),
        f"{_NO_ACCURACY}{why}, so the export was compared with Keras on generated "
        "images.",
    )


def _given(source, options) -> ComparedImages:
    limit = max(options.accuracy_images, getattr(options, "calibration_images", 0))
    images = images_of(options.images, source.data["image_shape"], limit)
    return ComparedImages(
        unlabelled(images, {**source.data, "name": options.images}),
        f"{_NO_ACCURACY}the export was compared with Keras on given images, of which "
        "nobody said what they show.",
    )


def _refuse_learning(options, calibrated, why) -> None:
    """Refuses options that learn from images where there are none."""
    if options.recalibrate:
        raise OptionError(
            f"--recalibrate: expected 0 without training images. Received "
            f"{options.recalibrate}, but {why.rstrip('.')}: give --data_dir, or leave "
            "it out."
        )
    if calibrated:
        raise OptionError(
            "--precision: expected one that learns nothing from images, or images to "
            f"learn from. Received {options.precision!r}, but {why.rstrip('.')}: give "
            "--images=<folder of images>, of a run also --data_dir."
        )
