"""Trained weights that ship with the package.

net = continuous_net("cifar10_any_depth", weights="cifar10")

<package>/weights/<preset>/net      a checkpoint, as written by a training run
<package>/weights/<preset>/card.md  data, recipe, figures, licence
"""

import difflib
import pathlib

from cnet_tf import checkpoint
from cnet_tf.paths import named_variables

_WEIGHTS = pathlib.Path(__file__).parent / "weights"
_PREFIX = "pretrained:"
# Prefix of the layer that depends on the classes.
_HEAD = "head/"


def shipped() -> list[str]:
    """Returns the presets whose trained weights ship with the package."""
    return sorted(path.parent.name for path in _WEIGHTS.glob("*/net"))


def folder_of(preset: str) -> pathlib.Path:
    """Returns the folder where the weights of a preset are, or would be."""
    return _WEIGHTS / preset


def run_directory(name) -> pathlib.Path:
    """Returns the folder of a trained net: that of a run, or of `pretrained:<preset>`.

    Raises:
        ValueError: no weights are shipped for that preset.
    """
    name = str(name)
    if not name.startswith(_PREFIX):
        return pathlib.Path(name)
    preset = name.removeprefix(_PREFIX)
    if preset not in shipped():
        close = difflib.get_close_matches(preset, shipped(), n=1)
        hint = f" Did you mean {_PREFIX}{close[0]}?" if close else ""
        raise ValueError(
            f"expected {_PREFIX} and one of {', '.join(shipped())}. Received {name!r}."
            f"{hint}"
        )
    return folder_of(preset)


def is_shipped(folder) -> bool:
    """Whether a folder is part of the package, where nothing should be written."""
    return pathlib.Path(folder).resolve().is_relative_to(_WEIGHTS)


def data_of(preset: str) -> dict:
    """Describes the training data of a preset's weights, for preparing images.

    Args:
        preset: Name of the preset.

    Returns:
        `name`, `image_shape`, `class_names`, and `mean` and `std`, one number per
        channel, of pixels scaled to 0..1.

    Raises:
        ValueError: no weights are shipped for that preset.
    """
    return checkpoint.metadata(run_directory(f"{_PREFIX}{preset}") / "net")["data"]


def load_weights(net, preset: str, data: str, class_names=None) -> None:
    """Loads the shipped weights of a preset into a net.

    Args:
        net: `continuous_net(preset, ..)`. With other classes its head is not changed.
        preset: Name of the preset.
        data: Name of the data set on which the weights were trained.
        class_names: Names of the net's classes, which may differ from those of the
            weights even if there are as many. Default: those of the weights.

    Raises:
        ValueError: no weights are shipped for that preset and data, or weights of the
            net have other shapes because an argument changes the preset.
    """
    trained = checkpoint.load(run_directory(f"{_PREFIX}{preset}") / "net")
    name = trained.metadata["data"]["name"]
    if data != name:
        raise ValueError(
            f"weights: expected {name!r}, on which those of {preset!r} were trained. "
            f"Received {data!r}."
        )
    sources = named_variables(trained.net)
    known = trained.metadata["data"]["class_names"]
    other_classes = class_names is not None and list(class_names) != list(known)
    for path, target in named_variables(net).items():
        if other_classes and path.startswith(_HEAD):
            continue
        source = sources.get(path)
        if source is not None and source.shape == target.shape:
            target.assign(source)
        elif not path.startswith(_HEAD):
            found = None if source is None else tuple(source.shape)
            raise ValueError(
                f"weights: expected a net with the shapes of preset {preset!r}. "
                f"Received {path} of {tuple(target.shape)} for {found}: leave out the "
                "argument that changes it, and refine or project the net afterwards."
            )
