"""A trained net as commands read it, with the description of its data."""

import dataclasses
import pathlib

import keras

from cnet_tf import checkpoint
from cnet_tf.architecture import copied
from cnet_tf.escaping import line
from trainers.data.description import checked
from trainers.data.errors import tell
from trainers.errors import OptionError


@dataclasses.dataclass(frozen=True)
class TrainedNet:
    """The net of a run, or one that ships.

    Attributes:
        name: Name of its folder.
        net: The net as it was trained.
        data: What it was trained on; see `ImageData.description`.
        metadata: All of its metadata, including the data.
        sha256: Hash of its files.
    """

    name: str
    net: keras.Model
    data: dict
    metadata: dict
    sha256: str


def distinct(found, runs) -> list:
    """Replaces equal names in what was read from several runs by the runs' paths."""
    names = [one.name for one in found]
    return [
        dataclasses.replace(one, name=str(run)) if names.count(one.name) > 1 else one
        for one, run in zip(found, runs, strict=True)
    ]


def ended(run: pathlib.Path) -> bool:
    """Tells whether a run has ended; the folder of a net alone has."""
    return (run / "summary.json").exists() or not (run / "flags.txt").exists()


def read(run, option="run", sized=False) -> TrainedNet:
    """Reads the net of a run, or of a folder that is itself a net.

    Args:
        run: The folder.
        option: The flag that names it, for messages.
        sized: Whether a net for images of any size becomes one for its data's size.

    Raises:
        OptionError: no run, a damaged net, or no description of its data.
    """
    try:
        found = checkpoint.load(checkpoint.folder_of(run))
        data = checked(found.metadata, run, found.net)
        net = found.net
        if sized and None in net.input_shape[1:]:
            net = copied(net, input_shape=data["image_shape"])
    except (ValueError, OSError) as error:  # Includes those of nets and data.
        raise OptionError(f"--{option}: {error}") from error
    folder = pathlib.Path(run).resolve()
    if not ended(folder):
        tell(
            f"--{option}: {line(folder.name)} has not ended: this is its net after the "
            "last epoch that was saved. Repeat its command to end it."
        )
    name = folder.name
    return TrainedNet(name, net, data, found.metadata, found.sha256)
