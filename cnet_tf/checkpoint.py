"""A model on disk: architecture and weights, verified on load.

    <directory>/net.json               format, architecture, metadata, sha256
    <directory>/net-<sha>.safetensors  the weights, see `tensor_file`

Only data is read (`architecture`): no pickle and no path to code is involved. A damaged
or hostile directory is refused before memory is allocated for it.
"""

import dataclasses
import hashlib
import pathlib
import re

import keras
from keras import ops

from cnet_tf import plain_file, tensor_file
from cnet_tf.adapted import settle
from cnet_tf.architecture import readable, rebuilt
from cnet_tf.atomic_file import write_bytes, write_json
from cnet_tf.line_error import LineError
from cnet_tf.model_graph import is_graph
from cnet_tf.paths import named_variables

# Raise it when an old directory can no longer be read.
FORMAT = 4
_DESCRIPTION = "net.json"
_PREFIX = "net-"


class CheckpointError(LineError):
    """A checkpoint is missing, damaged or of another version; a one-line message."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A net read from disk and the plain data that was saved with it.

    Attributes:
        net: The built net.
        metadata: The metadata that `save` was given.
        sha256: Checksum of the weights file.
    """

    net: keras.Model
    metadata: dict
    sha256: str


def save(net: keras.Model, directory, metadata=None):
    """Writes a built net; a reader sees the old checkpoint or the new one.

    Args:
        net: A built functional or Sequential model of layers of Keras and this package.
        directory: Created if it is missing; must not be a link.
        metadata: JSON-able data to keep with the net, for example the normalisation.

    Raises:
        ValueError: the net is no such model, `load` would refuse it, or the directory
            is a link.
        OSError: writing failed; the old checkpoint is intact.
    """
    if not is_graph(net) or not net.built:
        raise ValueError(
            "net: expected a built functional or Sequential model. Received "
            f"{net.name!r}, a {type(net).__name__}."
        )
    architecture = readable(net)
    directory = pathlib.Path(directory)
    plain_file.check_no_link(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = tensor_file.packed(
        {name: ops.convert_to_numpy(v) for name, v in named_variables(net).items()}
    )
    sha256 = hashlib.sha256(content).hexdigest()
    weights = _weights(directory, sha256)
    write_bytes(weights, content)
    # Weights are named by their content, so until this rename the old description
    # still finds the old weights, and afterwards the new one finds the new weights.
    write_json(
        directory / _DESCRIPTION,
        {
            "format": FORMAT,
            "architecture": architecture,
            "metadata": metadata or {},
            "sha256": sha256,
        },
    )
    for old in directory.glob(f"{_PREFIX}*.safetensors"):
        if old != weights:
            old.unlink()


def folder_of(run) -> pathlib.Path:
    """Returns `<run>/net`, or the folder itself: a net may travel without its run.

    A path that a user names may be a link, which is followed here; nothing in the
    folder may be one.
    """
    run = pathlib.Path(run).resolve()
    return run if (run / _DESCRIPTION).is_file() else run / "net"


def description_of(run) -> pathlib.Path:
    """Returns the file that describes a run's net and names its weights by checksum."""
    return folder_of(run) / _DESCRIPTION


def load(directory, verified=()) -> Checkpoint:
    """Reads a net back, bit for bit.

    Args:
        directory: Written by `save`.
        verified: `VerifiedFile`s, which are not hashed again.

    Raises:
        CheckpointError: missing files, another format, a foreign class, or weights
            whose checksum or shapes do not match.
    """
    directory = pathlib.Path(directory)
    while True:
        description = _description(directory / _DESCRIPTION)
        try:
            return _load(directory, description, verified)
        except CheckpointError:
            # A training may have replaced it during the read: then a newer one exists.
            # Compares checksums only, because NaN is not equal to itself.
            newer = _description(directory / _DESCRIPTION)
            if newer["sha256"] == description["sha256"]:
                raise


def metadata(directory) -> dict:
    """Returns the metadata saved with a net, without loading the net.

    Raises:
        CheckpointError: as for `load`.
    """
    return _description(pathlib.Path(directory) / _DESCRIPTION)["metadata"]


def _load(directory, description, verified) -> Checkpoint:
    sha256 = description["sha256"]
    path = _weights(directory, sha256)
    known = (file for file in verified if (file.path, file.sha256) == (path, sha256))
    try:
        weights = next(known, None) or tensor_file.VerifiedFile(path, sha256)
        weights.check_header()  # Far quicker than what follows.
        net = rebuilt(description["architecture"], fits=weights.check_shapes)
        targets = named_variables(net)
        expected = {name: (v.shape, v.dtype) for name, v in targets.items()}
        for name, value in weights.read(expected).items():
            targets[name].assign(value)
        settle(net)
    except tensor_file.TensorFileError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # A hand-edited config may break anything.
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{directory}: the net cannot be rebuilt: {type(error).__name__}: {reason}"
        ) from error
    return Checkpoint(net, description["metadata"], description["sha256"])


def _description(path):
    try:
        plain_file.check_no_link(path.parent)
        description = plain_file.read_json(path)
    except plain_file.PlainFileError as error:
        if error.missing:
            raise CheckpointError(
                f"{path}: expected a trained net, found no such file. A run has one "
                "when its first epoch has ended: repeat its command, or train another "
                "with `python trainers/train.py --flagfile=digits.flags`."
            ) from None
        raise CheckpointError(str(error)) from None
    found = description.get("format")
    if found != FORMAT or isinstance(found, (bool, float)):
        raise CheckpointError(
            f"{path}: expected format {FORMAT}. Received {found!r}: the directory was "
            "written by another version."
        )
    missing = {"architecture", "metadata", "sha256"} - description.keys()
    if missing:
        raise CheckpointError(f"{path}: expected the keys {sorted(missing)}.")
    if not isinstance(description["metadata"], dict):
        raise CheckpointError(
            f"{path}: metadata: expected a dict. Received "
            f"{type(description['metadata']).__name__}."
        )
    if not re.fullmatch("[0-9a-f]{64}", str(description["sha256"])):
        raise CheckpointError(
            f"{path}: sha256 of the weights: expected 64 hexadecimal digits. "
            f"Received {description['sha256']!r}."
        )
    return description


def _weights(directory, sha256):
    return directory / f"{_PREFIX}{sha256[:16]}.safetensors"
