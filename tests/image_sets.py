"""What the tests of data and of batches compare image sets with."""

import numpy as np

from trainers.data.batches import train_batches


def batch_list(*args, **kwargs):
    return list(train_batches(*args, **kwargs).as_numpy_iterator())


def gather(dataset, key):
    return next(dataset.batch(10_000).as_numpy_iterator())[key]


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for (images, labels), (images_again, labels_again) in zip(
        first, second, strict=True
    ):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels, labels_again)


def is_one_line(error):
    return "\n" not in str(error.value)
