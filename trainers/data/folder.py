"""Images in a folder: /path/<split>/<label>/*.png or jpg, named `folder:/path`."""

import os

import tensorflow_datasets as tfds

from trainers.data.errors import refuse
from trainers.data.stored import Source, Stored
from trainers.data.tfds_sets import stored

PREFIX = "folder:"


def open_folder(name: str, data_dir: str | None) -> Stored:
    """The set in the folder that the name tells; nothing is prepared."""
    del data_dir
    path = os.path.expanduser(name.removeprefix(PREFIX))
    if not os.path.isdir(path):
        refuse("dataset", "an existing folder of images", repr(name), "check the path")
    builder = tfds.ImageFolder(path)

    def read(split, start, stop):  # ImageFolder knows no slices.
        return builder.as_dataset(split=split).skip(start).take(stop - start)

    return stored(name, builder, read)


SOURCE = Source(lambda name: name.startswith(PREFIX), open_folder)
