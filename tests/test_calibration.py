import types

import numpy as np
import pytest
import tensorflow as tf

from export import calibration, tflite
from trainers.errors import OptionError


def _sorted_by_class(count):
    """Image i is i; the classes, were there any, would be stored one by one."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return types.SimpleNamespace(
        name="sorted",
        sizes={"train": count},
        train=tf.data.Dataset.from_tensor_slices({"image": pixels}),
    )


def test_images_are_spread_over_the_split():
    images = calibration.calibration_images(_sorted_by_class(250), 100)
    np.testing.assert_array_equal(images.ravel(), np.arange(100) * 5 // 2)
    whole = calibration.calibration_images(_sorted_by_class(120), 120)
    np.testing.assert_array_equal(whole.ravel(), np.arange(120))
    # Unless somebody asks for more.
    usual = calibration.calibration_images(_sorted_by_class(120), None)
    np.testing.assert_array_equal(usual, whole)


def test_the_hash_tells_sets_apart():
    images = np.arange(0, 200, 2, dtype=np.uint8)[:, None, None, None]
    assert calibration.sha256(images) == calibration.sha256(images.copy())
    assert calibration.sha256(images) != calibration.sha256(images[::-1])
    # Of the bytes 0, 2, .. 198, as sha256sum gives it.
    assert calibration.sha256(images).startswith("e4d0dcb8d1714eb9")


def test_a_set_that_is_too_small_is_refused():
    with pytest.raises(OptionError, match="at most 120, .*Received 121"):
        calibration.calibration_images(_sorted_by_class(120), 121)
    for count in (None, 100):  # Nothing that the user could ask for.
        with pytest.raises(OptionError, match="--images, .*at least 100 .*Received 99"):
            calibration.calibration_images(_sorted_by_class(99), count)
    with pytest.raises(OptionError, match=">= 100. Received 99"):
        tflite.Options(calibration_images=99)
