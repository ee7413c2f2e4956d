"""A small image data set that needs no download.

The 1,797 handwritten digits that ship with scikit-learn (the test set of the UCI
"Optical Recognition of Handwritten Digits" data), as a TFDS builder. Importing this
module registers the builder with TFDS under the name `sklearn_digits`.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from trainers.data import tfds_sets
from trainers.data.stored import Source

NAME = "digits"
# scikit-learn counts the dark pixels of 4x4 cells: 0..16.
_BRIGHTEST = 16
# Every fifth example of a class is held out for the test split, about 20 %.
_TEST_EVERY = 5


class SklearnDigits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits, 8x8 grey pixels, in ten classes.

    Examples are `{"image": uint8 (8, 8, 1), "label": int64}`, with the 0..16 of
    scikit-learn rescaled to 0..255. The splits `train` and `test` hold 1,442 and 355
    examples; the choice is deterministic and stratified by class.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="The handwritten digits that ship with scikit-learn.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing to download.
        # Imported here, as only preparation needs it: a prepared copy does not.
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / _BRIGHTEST)).astype(np.uint8)[..., None]
        held_out = _every_nth_of_each_class(digits.target, _TEST_EVERY)
        return {
            "train": _examples(images, digits.target, np.flatnonzero(~held_out)),
            "test": _examples(images, digits.target, np.flatnonzero(held_out)),
        }

    def _generate_examples(self):
        raise NotImplementedError("_split_generators returns the generators itself.")


def _every_nth_of_each_class(labels: np.ndarray, n: int) -> np.ndarray:
    """Marks the n-th, 2n-th, ... example of every class. Boolean, like `labels`."""
    marked = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        marked[np.flatnonzero(labels == label)[n - 1 :: n]] = True
    return marked


def _examples(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray):
    """Yields (key, example) for the chosen positions; the key is the position."""
    for i in chosen:
        yield int(i), {"image": images[i], "label": int(labels[i])}


SOURCE = Source(
    lambda name: name == NAME,
    # Prepared wherever it is missing: that takes a second and no network.
    lambda wanted: dataclasses.replace(
        tfds_sets.open_set(
            dataclasses.replace(wanted, name=SklearnDigits.name, prepare=True)
        ),
        name=NAME,
    ),
    lambda: (NAME,),
)
