"""A run resumes on the data that it began with, or says in a line that they changed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from trainers import fit
from trainers.data.errors import DataError
from trainers.interruption import Interrupted


def png(path, value):
    image = np.random.default_rng(value).integers(0, 256, (8, 8, 1), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(image).numpy())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("a class that sorts first", "class_names"),
        ("an image more", "mean|sizes"),
        ("other pixels", "mean"),
        ("the same data", None),
    ],
)
def test_data_that_changed_between_stop_and_resume(short_run, tmp_path, change, match):
    for split, label, i in np.ndindex(2, 3, 6):
        split, name = ("train", "test")[split], ("cat", "dog", "emu")[label]
        png(tmp_path / split / name / f"{i}.png", 10 * label + i)
    options = short_run(
        dataset=f"folder:{tmp_path}",
        data_dir=None,
        image_size=8,
        batch_size=4,
        validation_fraction=0,
        batches_per_epoch=2,
        epochs=1,
    )
    with pytest.raises(Interrupted):
        fit.fit(dataclasses.replace(options, max_minutes=1e-6))
    if change == "a class that sorts first":
        for split in ("train", "test"):
            png(tmp_path / split / "aaa" / "0.png", 99)
    elif change == "an image more":
        png(tmp_path / "train" / "dog" / "9.png", 99)
    elif change == "other pixels":
        png(tmp_path / "train" / "dog" / "0.png", 99)
    if match is None:
        fit.fit(options)
        return
    with pytest.raises(DataError, match=f"dataset: expected .*({match})") as error:
        fit.fit(options)
    assert "\n" not in str(error.value)
