"""Cutout and image sizes by epoch."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from image_sets import assert_same, batch_list
from short_runs import After, assert_equal, weights

from trainers import fit
from trainers.data.augmentation import cut_out
from trainers.errors import OptionError
from trainers.interruption import Interrupted
from trainers.options import Options
from trainers.schedule import value_at


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_the_hole_is_a_square_about_the_drawn_pixel_clipped(side):
    draws = np.random.default_rng(0).random((50, 2), np.float32)
    cut = cut_out(tf.ones((50, 12, 10, 3)), tf.constant(draws), side).numpy()
    for image, (u, v) in zip(cut, draws, strict=True):
        top, left = int(u * 12) - side // 2, int(v * 10) - side // 2
        expected = np.ones((12, 10, 3))
        expected[max(top, 0) : top + side, max(left, 0) : left + side] = 0
        np.testing.assert_array_equal(image, expected)


def test_cutout_repeats_and_leaves_order_and_crops(digits):
    settings = {"seed": 3, "epoch": 2, "augment": "crop"}
    plain = batch_list(digits, 100, **settings)
    cut = batch_list(digits, 100, **settings, cutout=3)
    assert_same(cut, batch_list(digits, 100, **settings, cutout=3))
    tail = batch_list(digits, 100, **settings, cutout=3, skip_batches=5)
    assert_same(cut[5:], tail)
    for (x, labels), (y, same) in zip(plain, cut, strict=True):
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_array_equal(y, np.where(y == 0, 0, x))
        assert np.all(np.sum(x != y, axis=(1, 2, 3)) <= 9) and np.any(x != y)


def test_sizes_by_epoch(digits):
    sizes = ((0, 4), (2, 8))
    assert [value_at(sizes, e) for e in range(4)] == [4, 4, 8, 8]
    assert value_at((), 3) is None
    plain = batch_list(digits, 100, seed=0, epoch=0)
    assert_same(plain, batch_list(digits, 100, seed=0, epoch=0, side=8))
    small = batch_list(digits, 100, seed=0, epoch=0, side=4)
    assert small[0][0].shape == (100, 4, 4, 1)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"image_sizes": ((1, 4),)}, "--image_sizes: .*from 0"),
        ({"image_sizes": ((0, 4), (0, 8))}, "--image_sizes: "),
        ({"image_sizes": ((0, 4), (99, 8))}, "--image_sizes: "),
        ({"schedule": "one_cycle"}, "--warmup_epochs: .*at least 1"),
        ({"warmup_epochs": 30}, "--warmup_epochs: .*less than"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(OptionError, match=message):
        Options(**given)


@pytest.mark.slow
def test_resume_is_bit_equal(tmp_path, digits_dir, monkeypatch):
    options = Options(
        data_dir=str(digits_dir),
        runs_dir=str(tmp_path / "whole"),
        scheme="euler",
        batch_size=32,
        epochs=2,
        batches_per_epoch=3,
        learning_rate=0.05,
        schedule="one_cycle",
        warmup_epochs=1,
        cutout=3,
        ema=0.9,
        nesterov=True,
        label_smoothing=0.1,
        image_sizes=((0, 4), (1, 8)),
        tensorboard=False,
        verbose=0,
    )
    whole = weights(fit.fit(options)["run"])
    stopped = dataclasses.replace(options, runs_dir=str(tmp_path / "stopped"))
    with monkeypatch.context() as patch:
        patch.setattr(fit, "Interruption", lambda _: After(2))
        with pytest.raises(Interrupted):
            fit.fit(stopped)
    assert_equal(weights(fit.fit(stopped)["run"]), whole)
