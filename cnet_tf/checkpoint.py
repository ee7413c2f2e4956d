"""A net on disk: constructor arguments and weights, verified on load.

    <directory>/net.json               format, class, config, metadata, sha256 ..
    <directory>/net-<sha>.safetensors  the weights, see `tensor_file`

Only data is read: the class is one of the nets of this package, by name, and neither
pickle nor a path to code is involved. A damaged or hostile directory is refused before
memory is taken for it.
"""

import dataclasses
import json
import math
import os
import pathlib
import re

from keras import ops

from cnet_tf import tensor_file
from cnet_tf.atomic_file import removed_on_failure, write_json
from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.net import Net
from cnet_tf.resnet import ResNet

# Raise it when an old directory can no longer be read.
FORMAT = 3
_DESCRIPTION = "net.json"
_SIZES = ("widths", "width", "stem_width", "nodes", "blocks_per_stage", "classes")
_NETS = {net.__name__: net for net in (ContinuousNet, ContinuousClassifier, ResNet)}


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or of another version; the message is a line."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A net read from disk and the plain data that was saved with it.

    Attributes:
        net: Built.
        metadata: What `save` was given.
        sha256: Of the file of the weights.
    """

    net: Net
    metadata: dict
    sha256: str


def save(net: Net, directory, metadata=None):
    """Writes a built net; a reader sees the old checkpoint or the new one.

    Args:
        net: A built net of this package.
        directory: Made if it is missing.
        metadata: JSON-able data to keep with it, for example the normalisation.
    """
    if not net.built:
        raise ValueError(f"net: expected a built net. Received {net.name!r}.")
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {name: ops.convert_to_numpy(v) for name, v in variables(net).items()}
    temporary = directory / f"tmp-{os.getpid()}.safetensors"
    with removed_on_failure(temporary):
        sha256 = tensor_file.write(temporary, arrays)
        weights = _weights(directory, sha256)
        os.replace(temporary, weights)
    # Weights are named by their content, so until this rename the old description
    # still finds the old weights, and after it the new one finds the new.
    write_json(
        directory / _DESCRIPTION,
        {
            "format": FORMAT,
            "class": type(net).__name__,
            "config": {k: v for k, v in net.get_config().items() if k != "dtype"},
            "policy": net.dtype_policy.name,
            "input_shape": net.get_build_config()["input_shape"],
            "metadata": metadata or {},
            "sha256": sha256,
        },
    )
    for old in directory.glob("*.safetensors"):
        if old != weights:
            old.unlink()


def variables(net: Net) -> dict:
    """The variables of a net by names that do not depend on the name of the net."""
    return {v.path.partition("/")[2]: v for v in net.variables}


def load(directory, verified=()) -> Checkpoint:
    """Reads a net back, bit for bit.

    Args:
        directory: Written by `save`.
        verified: `VerifiedFile`s, which are not hashed again.

    Raises:
        CheckpointError: missing files, another format, an unknown class, weights whose
            checksum or shapes do not fit.
    """
    directory = pathlib.Path(directory)
    while True:
        description = _description(directory / _DESCRIPTION)
        try:
            return _load(directory, description, verified)
        except CheckpointError:
            # Replaced by a training while it was read: then there is a newer one.
            if _description(directory / _DESCRIPTION) == description:
                raise


def _load(directory, description, verified) -> Checkpoint:
    sha256 = description["sha256"]
    path = _weights(directory, sha256)
    known = (file for file in verified if (file.path, file.sha256) == (path, sha256))
    try:
        weights = next(known, None) or tensor_file.VerifiedFile(path, sha256)
        _check_size(description["config"], weights.elements())
        net = _NETS[description["class"]](
            **description["config"], dtype=description["policy"]
        )
        net.build(tuple(description["input_shape"]))
        targets = variables(net)
        expected = {name: (v.shape, v.dtype) for name, v in targets.items()}
        for name, value in weights.read(expected).items():
            targets[name].assign(value)
    except tensor_file.TensorFileError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # A hand-edited config may break anything.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise CheckpointError(
            f"{directory}: the net cannot be rebuilt: {reason}"
        ) from error
    return Checkpoint(net, description["metadata"], description["sha256"])


def _check_size(config, elements):
    """Refuses a config whose net is far larger than its weights, before it is built.

    With widths w, cells K and classes C, a net has more than K w^2 and than C weights.
    """
    numbers = {
        key: max(value if isinstance(value, (list, tuple)) else [value])
        for key, value in config.items()
        if key in _SIZES and value
    }
    width = max(numbers.get(key, 1) for key in ("widths", "width", "stem_width"))
    depth = max(numbers.get(key, 1) for key in ("nodes", "blocks_per_stage"))
    blocks = len(config.get("widths", ()))
    needed = max(width**2 * depth, numbers.get("classes", 1), blocks)
    if not math.isfinite(needed) or needed > elements:
        raise ValueError(
            f"config: expected a net of {elements} weights. Received one of more than "
            f"{needed}."
        )


def _description(path):
    try:
        description = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: expected a trained net, found no such file. Train one with "
            "`python trainers/train.py --flagfile=digits.flags`."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise CheckpointError(
            f"{path}: expected format {FORMAT}. Received {found!r}: the directory was "
            "written by another version."
        )
    missing = {"class", "config", "policy", "input_shape", "metadata", "sha256"}
    missing -= description.keys()
    if missing:
        raise CheckpointError(f"{path}: expected the keys {sorted(missing)}.")
    if description["class"] not in list(_NETS):
        raise CheckpointError(
            f"{path}: class: expected one of {', '.join(_NETS)}. "
            f"Received {description['class']!r}."
        )
    if not re.fullmatch("[0-9a-f]{64}", str(description["sha256"])):
        raise CheckpointError(
            f"{path}: sha256 of the weights: expected 64 hexadecimal digits. "
            f"Received {description['sha256']!r}."
        )
    return description


def _weights(directory, sha256):
    return directory / f"net-{sha256[:16]}.safetensors"
