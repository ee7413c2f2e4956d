"""Pixels of one image file, read by Pillow; what is in it counts, not its name.

`pixels` gives 8 bits a channel, upright by EXIF. What is transparent lies on white, of
16 bits the upper eight are kept, of several frames the first.
"""

import contextlib
import os
import struct

import numpy as np
from PIL import Image, ImageOps

Image.init()
# Images that cameras, scanners and browsers write. Pillow's other readers are never
# asked: some start programs.
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF")
    if name in Image.OPEN
)
SUFFIXES = frozenset(
    suffix
    for suffix, name in Image.registered_extensions().items()
    if name in (*FORMATS, "MPO")  # Of phones: a JPEG with more behind it.
)
# Pillow's mode by the channels of the result.
MODES = {1: "L", 3: "RGB"}
# Formats whose reader turns images upright by itself.
_TURNED = ("TIFF",)
# Grey of 16 bits in modes that hold more.
_SIXTEEN_BITS = {"I": ("PNG", "PPM")}


class Unreadable(ValueError):
    """A file that holds no image; the message is a few words."""


def is_image(name: str) -> bool:
    """Whether a file is one of ours, by its suffix in any case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def size(path: str) -> tuple[int, int]:
    """(height, width) of the upright image, from the start of its file.

    Raises:
        Unreadable: no image.
    """
    with _readable(path) as file, Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        return (width, height) if _lies_on_its_side(image) else (height, width)


def pixels(path: str, channels: int = 3) -> np.ndarray:
    """The image, uint8 (height, width, channels).

    Args:
        path: Of the file.
        channels: 3 for colours, 1 for grey. Default: 3.

    Raises:
        Unreadable: no image, or half of one.
    """
    with _readable(path) as file, Image.open(file, formats=FORMATS) as image:
        ImageOps.exif_transpose(image, in_place=True)
        array = np.asarray(_eight_bits(image).convert(MODES[channels]))
        return array.reshape(*array.shape[:2], channels)


@contextlib.contextmanager
def _readable(path):
    """Opens a file; whatever a reader of images raises becomes an Unreadable."""
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise Unreadable("empty")
            yield file
    except Unreadable:
        raise
    except Image.UnidentifiedImageError as error:
        raise Unreadable("no image") from error
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def _reason(error) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).removesuffix(".")


def _lies_on_its_side(image) -> bool:
    """Whether EXIF exchanges height and width."""
    if image.format in _TURNED:
        return False
    try:
        orientation = image.getexif().get(0x0112)
    except (ValueError, SyntaxError, OSError, struct.error):
        return False
    return orientation in (5, 6, 7, 8)


def _eight_bits(image) -> Image.Image:
    """The image in a mode that Pillow converts as eyes see it."""
    deep = image.mode.startswith("I;16")
    if deep or image.format in _SIXTEEN_BITS.get(image.mode, ()):
        return Image.fromarray((np.asarray(image).astype("i4") >> 8).astype("u1"))
    if image.mode in ("I", "F"):
        raise Unreadable("neither 8 nor 16 bits a channel")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        return ground
    return image
