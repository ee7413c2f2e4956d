"""A trained net as commands read it, with what is said of its data."""

import dataclasses
import pathlib

import keras

from cnet_tf import checkpoint
from cnet_tf.architecture import copied
from trainers.data.description import checked
from trainers.errors import OptionError


@dataclasses.dataclass(frozen=True)
class TrainedNet:
    """A net, of a run or one that ships.

    Attributes:
        name: That of its folder.
        net: As it was trained.
        data: What it was trained on; see `ImageData.description`.
        metadata: All that is said of it, the data included.
        sha256: Of its files.
    """

    name: str
    net: keras.Model
    data: dict
    metadata: dict
    sha256: str


def distinct(found, runs) -> list:
    """What was read of several runs; where names are equal they become the paths."""
    names = [one.name for one in found]
    return [
        dataclasses.replace(one, name=str(run)) if names.count(one.name) > 1 else one
        for one, run in zip(found, runs, strict=True)
    ]


def read(run, option="run", sized=False) -> TrainedNet:
    """The net of a run, or of a folder that is one.

    Args:
        run: The folder.
        option: The flag that names it, for messages.
        sized: Whether a net of images of any size becomes one of its data's size.

    Raises:
        OptionError: no run, a damaged net, or no word of its data.
    """
    try:
        found = checkpoint.load(checkpoint.folder_of(run))
        data = checked(found.metadata, run, found.net)
        net = found.net
        if sized and None in net.input_shape[1:]:
            net = copied(net, input_shape=data["image_shape"])
    except (ValueError, OSError) as error:  # Those of nets and data too.
        raise OptionError(f"--{option}: {error}") from error
    name = pathlib.Path(run).resolve().name
    return TrainedNet(name, net, data, found.metadata, found.sha256)
