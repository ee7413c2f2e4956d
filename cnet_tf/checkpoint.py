"""A net on disk: constructor arguments and weights, verified on load.

    <directory>/net.json                format, class, config, metadata, sha256 ..
    <directory>/net-<sha>.weights.h5    the weights, as Keras writes them

Only data is read: the class is one of the nets of this package, by name, and neither
pickle nor a path to code is involved.
"""

import dataclasses
import hashlib
import json
import os
import pathlib

from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.net import Net
from cnet_tf.resnet import ResNet

# Raise it when an old directory can no longer be read.
FORMAT = 1
_DESCRIPTION = "net.json"
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
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Keras insists on this ending.
    temporary = directory / f"tmp-{os.getpid()}.weights.h5"
    net.save_weights(temporary)
    sha256 = _sha256(temporary)
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
    for old in directory.glob("*.weights.h5"):
        if old != weights:
            old.unlink()


def load(directory) -> Checkpoint:
    """Reads a net back, bit for bit.

    Raises:
        CheckpointError: missing files, another format, an unknown class, weights whose
            checksum or shapes do not fit.
    """
    directory = pathlib.Path(directory)
    description = _description(directory / _DESCRIPTION)
    weights = _weights(directory, description["sha256"])
    if not weights.is_file():
        raise CheckpointError(f"{weights}: expected the weights of a net, found none.")
    if _sha256(weights) != description["sha256"]:
        raise CheckpointError(
            f"{weights}: the checksum differs from the one in {_DESCRIPTION}: the file "
            "is damaged or belongs to another net. Restore it or train again."
        )
    try:
        net = _NETS[description["class"]](
            **description["config"], dtype=description["policy"]
        )
        net.build(tuple(description["input_shape"]))
        net.load_weights(weights)
    except Exception as error:  # A hand-edited config may break anything.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise CheckpointError(
            f"{directory}: the net cannot be rebuilt: {reason}"
        ) from (error)
    return Checkpoint(net, description["metadata"], description["sha256"])


def write_json(path, value):
    """Writes JSON; see `write_bytes`."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def write_bytes(path, content: bytes):
    """Writes a file beside its target, then renames it: whole, or not at all."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"tmp-{os.getpid()}-{path.name}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


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
    return description


def _weights(directory, sha256):
    return directory / f"net-{str(sha256)[:16]}.weights.h5"


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
