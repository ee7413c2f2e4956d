"""Reads one image file with Pillow; its content counts, not its name.

`pixels` returns 8 bits per channel, turned upright by EXIF. Transparent pixels are laid
on white; of 16 bits the upper eight are kept, of several frames the first.
"""

import contextlib
import os
import struct

import numpy as np
from PIL import Image, ImageOps

Image.init()
# What cameras, scanners and browsers write. Pillow's other readers are never tried:
# some start programs.
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF")
    if name in Image.OPEN
)
SUFFIXES = frozenset(
    suffix
    for suffix, name in Image.registered_extensions().items()
    if name in (*FORMATS, "MPO")  # From phones: a JPEG with more after it.
)
# Pillow's mode by the number of channels of the result.
MODES = {1: "L", 3: "RGB"}
# Formats whose reader turns images upright by itself.
_TURNED = ("TIFF",)
# Formats that hold 16-bit grey in modes of more bits.
_SIXTEEN_BITS = {"I": ("PNG", "PPM")}


class Unreadable(ValueError):
    """A file holds no readable image; the message is a few words."""


def is_image(name: str) -> bool:
    """Whether a file has one of our suffixes, in any case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def size(path: str) -> tuple[int, int]:
    """Reads (height, width) of the upright image, from the start of its file.

    Raises:
        Unreadable: the file holds no image.
    """
    with _readable(path) as file, Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        return (width, height) if _lies_on_its_side(image) else (height, width)


def pixels(path: str, channels: int = 3) -> np.ndarray:
    """Reads the image as uint8 (height, width, channels).

    Args:
        path: Path of the file.
        channels: 3 for colours, 1 for grey. Default: 3.

    Raises:
        Unreadable: the file holds no image, or a part of one.
    """
    with _readable(path) as file, Image.open(file, formats=FORMATS) as image:
        ImageOps.exif_transpose(image, in_place=True)
        array = np.asarray(_eight_bits(image).convert(MODES[channels]))
        return array.reshape(*array.shape[:2], channels)


@contextlib.contextmanager
def _readable(path):
    """Opens a file; whatever an image reader raises becomes an Unreadable."""
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise Unreadable("empty")
            yield file
    except Unreadable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Unreadable("not an image") from error
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def _reason(error) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).removesuffix(".")


def _lies_on_its_side(image) -> bool:
    """Whether EXIF swaps height and width."""
    if image.format in _TURNED:
        return False
    try:
        orientation = image.getexif().get(0x0112)
    except (ValueError, SyntaxError, OSError, struct.error):
        return False
    return orientation in (5, 6, 7, 8)


def _eight_bits(image) -> Image.Image:
    """Returns the image in a mode from which Pillow's conversion looks the same."""
    deep = image.mode.startswith("I;16")
    if deep or image.format in _SIXTEEN_BITS.get(image.mode, ()):
        return Image.fromarray((np.asarray(image).astype("i4") >> 8).astype("u1"))
    if image.mode in ("I", "F"):
        raise Unreadable("neither 8 nor 16 bits per channel")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        return ground
    return image
