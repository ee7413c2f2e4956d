"""A few pictures free of restrictions, for trying an image net on something real.

<package>/sample_images/<name>.png, see SOURCES.md there for their authors
"""

import pathlib

import keras
import numpy as np

_FOLDER = pathlib.Path(__file__).parent / "sample_images"
# Keras' color mode for each number of channels.
CHANNELS = {1: "grayscale", 3: "rgb"}


def sample_images(shape=(32, 32, 3)) -> dict[str, np.ndarray]:
    """Returns the sample images by name, as uint8 arrays of the given shape.

    Args:
        shape: (height, width, channels). Default (32, 32, 3), that of CIFAR-10.

    Raises:
        ValueError: neither 1 nor 3 channels.
        ImportError: Pillow, with which Keras reads images, is not installed.
    """
    *size, channels = shape
    if channels not in CHANNELS:
        raise ValueError(
            f"shape: expected 1 or 3 channels. Received {channels}: the sample images "
            "come in no other form."
        )
    return {
        path.stem: keras.utils.img_to_array(
            keras.utils.load_img(
                path,
                color_mode=CHANNELS[channels],
                target_size=size,
                interpolation="lanczos",
            ),
            dtype="uint8",
        )
        for path in sorted(_FOLDER.glob("*.png"))
    }
