"""Images without a class have no loss: they are left out, or refused."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from trainers.data import load
from trainers.data.errors import DataError


class SecretLabels(tfds.core.GeneratorBasedBuilder):
    """The labels of the test split are kept secret, as of a competition."""

    VERSION = tfds.core.Version("1.0.0")
    secret = {"train": 0, "validation": 0, "test": 20}

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, _):
        return {split: self._generate_examples(split) for split in self.secret}

    def _generate_examples(self, split):
        for i in range(20):
            label = -1 if i < self.secret[split] else i % 2
            yield i, {"image": np.full((4, 4, 1), i, np.uint8), "label": label}


class SomeSecret(SecretLabels):
    secret = {"train": 3, "test": 0}


def test_a_split_without_labels_is_left_out(tmp_path, capsys):
    SecretLabels(data_dir=tmp_path).download_and_prepare()
    data = load("secret_labels", str(tmp_path), 0.25)
    assert "note: secret_labels: images of its split 'test' have no" in (
        capsys.readouterr().err
    )
    # Without a test split, that of validation serves for testing.
    assert data.sizes == {"train": 15, "validation": 5, "test": 20}
    labels = {int(example["label"]) for example in data.test}
    assert labels == {0, 1}


def test_images_without_a_label_are_refused(tmp_path):
    SomeSecret(data_dir=tmp_path).download_and_prepare()
    with pytest.raises(
        DataError, match="dataset: .*labels 0..1 in .* with labels -1..1"
    ):
        load("some_secret", str(tmp_path), 0.25)
