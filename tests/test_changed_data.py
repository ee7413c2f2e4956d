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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("a class that sorts first", "class_names"),
        ("an image more", "sizes"),
        ("other pixels", "mean"),
        ("a test image more", "sizes"),
        ("another place", None),
        ("the same data", None),
    ],
)
def test_data_that_changed_between_stop_and_resume(short_run, tmp_path, change, match):
    root = tmp_path / "set"
    for split, label, i in np.ndindex(2, 3, 6):
        split, name = ("train", "test")[split], ("cat", "dog", "emu")[label]
        png(root / split / name / f"{i}.png", 10 * label + i)
    options = short_run(
        dataset=f"folder:{root}",
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
            png(root / split / "aaa" / "0.png", 99)
    elif change == "an image more":
        png(root / "train" / "dog" / "9.png", 99)
    elif change == "other pixels":
        png(root / "train" / "dog" / "0.png", 99)
    elif change == "a test image more":
        png(root / "test" / "dog" / "9.png", 99)
    elif change == "another place":
        (tmp_path / "set").rename(tmp_path / "moved")
        options = dataclasses.replace(options, data_dir=str(tmp_path / "moved"))
    if match is None:
        fit.fit(options)
        return
    with pytest.raises(DataError, match=f"dataset: expected .*({match})") as error:
        fit.fit(options)
    assert "\n" not in str(error.value)
