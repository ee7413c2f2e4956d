"""Image files to pixels: formats, orientation, depths, and what is no image."""

import numpy as np
import pytest
from image_sets import write_image
from PIL import Image

from trainers.data import image_files
from trainers.data.image_files import Unreadable

ORIENTATION = 0x0112
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)


def save(image, path, **settings):
    Image.fromarray(image).save(path, **settings)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "PNG"])
def test_formats_without_loss(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    expected = write_image(path)
    assert image_files.is_image(path.name)
    assert image_files.size(path) == (6, 7)
    np.testing.assert_array_equal(image_files.pixels(path), expected)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp", "gif"])
def test_formats_with_loss(tmp_path, suffix):
    path = save(np.full((6, 7, 3), 200, np.uint8), tmp_path / f"a.{suffix}")
    assert image_files.is_image(path)
    assert np.abs(image_files.pixels(path).astype(int) - 200).max() <= 2


@pytest.mark.parametrize("name", ["a.txt", "a.heic", "png", "a.pdf", "a.png.zip"])
def test_other_suffixes_are_no_images(name):
    assert not image_files.is_image(name)


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_images_are_turned_upright(tmp_path, suffix, orientation):
    """Half white, half black, so that no compression hides which side is which."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(stored, tmp_path / f"a.{suffix}", exif=exif)
    # What a camera's number asks for, in turns by 90 degrees to the left.
    upright = np.rot90(stored, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    assert image_files.size(path) == upright.shape[:2]
    found = image_files.pixels(path)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 10


def test_what_is_inside_counts_not_the_name(tmp_path):
    expected = write_image(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(image_files.pixels(tmp_path / "a.jpg"), expected)


def test_channels(tmp_path):
    grey = write_image(tmp_path / "grey.png", shape=(6, 7, 1))
    found = image_files.pixels(tmp_path / "grey.png")
    np.testing.assert_array_equal(found, np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(image_files.pixels(tmp_path / "grey.png", 1), grey)
    palette = Image.fromarray(COLOURS).convert("P")
    palette.save(tmp_path / "palette.png")
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(
        image_files.pixels(tmp_path / "palette.png"), expected
    )
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / "cmyk.tiff")
    assert image_files.pixels(tmp_path / "cmyk.tiff").shape == (6, 7, 3)


def test_what_is_transparent_lies_on_white(tmp_path):
    alpha = np.zeros((6, 7, 1), np.uint8)
    alpha[:3] = 255
    path = save(np.concatenate([COLOURS, alpha], 2), tmp_path / "a.png")
    found = image_files.pixels(path)
    np.testing.assert_array_equal(found[:3], COLOURS[:3])
    assert (found[3:] == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path, suffix):
    grey = COLOURS[..., 0]
    path = save(grey.astype("u2") * 256 + 77, tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(image_files.pixels(path, 1)[..., 0], grey)


def truncated(path):
    write_image(path, shape=(64, 64, 3))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BROKEN = {
    "truncated.jpg": truncated,
    "truncated.png": truncated,
    "truncated.webp": truncated,
    "empty.jpg": lambda path: path.touch(),
    "text.png": lambda path: path.write_text("no image"),
    "floats.tiff": lambda path: save(np.zeros((6, 7), "f4"), path),
    "missing.png": lambda path: None,
    "vector.png": lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image(tmp_path, name):
    BROKEN[name](tmp_path / name)
    with pytest.raises(Unreadable) as error:
        image_files.pixels(tmp_path / name)
    assert str(error.value) and "\n" not in str(error.value)
