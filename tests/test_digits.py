import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

import trainers.data.digits  # noqa: F401  (registers the builder)


def _prepared(folder):
    builder = tfds.builder("sklearn_digits", data_dir=folder)
    builder.download_and_prepare()
    parts = (builder.as_dataset(split=s, batch_size=-1) for s in ("train", "test"))
    return builder.info, *(tfds.as_numpy(part) for part in parts)


@pytest.fixture(scope="module")
def prepared(digits_dir):
    return _prepared(digits_dir)


def _sorted_rows(images):
    return np.array(sorted(images.reshape(len(images), -1).tolist()))


def test_features_and_version(prepared):
    info, _, _ = prepared
    assert str(info.version) == "1.0.0"
    assert info.features["image"].shape == (8, 8, 1)
    assert info.features["label"].num_classes == 10
    assert info.supervised_keys == ("image", "label")


def test_splits_hold_every_image_once_rescaled_to_bytes(prepared):
    _, train, test = prepared
    images = np.concatenate([train["image"], test["image"]])
    original = load_digits()
    assert len(images) == len(original.images) == 1797
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    expected = np.rint(original.images * 255 / 16)
    np.testing.assert_array_equal(_sorted_rows(images), _sorted_rows(expected))


def test_labels_belong_to_their_images(prepared):
    _, train, _ = prepared
    original = load_digits()
    label_of = {
        np.rint(image * 255 / 16).astype(np.uint8).tobytes(): label
        for image, label in zip(original.images, original.target, strict=True)
    }
    labels = [label_of[image.tobytes()] for image in train["image"]]
    np.testing.assert_array_equal(train["label"], labels)


def test_split_is_stratified(prepared):
    _, train, test = prepared
    assert (len(train["label"]), len(test["label"])) == (1442, 355)
    held_out = np.bincount(test["label"])
    total = np.bincount(train["label"]) + held_out
    np.testing.assert_array_equal(held_out, total // 5)


def test_preparation_is_deterministic(prepared, tmp_path):
    _, train, test = prepared
    _, train_again, test_again = _prepared(str(tmp_path))
    for first, second in ((train, train_again), (test, test_again)):
        np.testing.assert_array_equal(first["image"], second["image"])
        np.testing.assert_array_equal(first["label"], second["label"])
