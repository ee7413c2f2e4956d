"""Image classification data: sources, splits, batches, augmentation.

data = load("cifar10", data_dir="/data/tfds")
for images, labels in train_batches(data, 128, seed=0, epoch=0):
    ...
"""

from trainers.data.augmentation import AUGMENTATIONS
from trainers.data.batches import (
    eval_batches,
    normalize,
    recalibration_batches,
    train_batches,
)
from trainers.data.errors import DataError, MissingData
from trainers.data.given import images_of
from trainers.data.images import PARTS, ImageData, load, load_as_trained

__all__ = [
    "AUGMENTATIONS",
    "DataError",
    "ImageData",
    "MissingData",
    "PARTS",
    "eval_batches",
    "images_of",
    "load",
    "load_as_trained",
    "normalize",
    "recalibration_batches",
    "train_batches",
]
