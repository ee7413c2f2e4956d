"""Named arrays in one file: safetensors, which holds numbers and nothing else.

No pickle, no links to other files, no code. Names, shapes and types are in a header,
which is read and checked before any number is read.

Reference: https://github.com/huggingface/safetensors, "Format".
"""

import contextlib
import dataclasses
import hashlib
import pathlib

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cnet_tf import plain_file, temporary
from cnet_tf.line_error import LineError

# NumPy's names for the types that nets and optimizers have.
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "I64": "int64",
    "I32": "int32",
    "U32": "uint32",
    "U8": "uint8",
    "BOOL": "bool",
}


# The number of bytes, before the header, that hold its length.
_LENGTH = 8


class TensorFileError(LineError):
    """A file is missing, damaged or has unexpected arrays. The message is one line."""


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns the content of a file of arrays; the same arrays give the same bytes."""
    # 0-d arrays need the copy: NumPy makes them 1-d when it makes them contiguous.
    return save({k: np.array(v, order="C") for k, v in arrays.items()})


def write(path, arrays: dict[str, np.ndarray]) -> str:
    """Writes arrays and flushes them to disk; returns the sha256 of the file.

    Args:
        path: The file to write; nobody may be reading it. Rename it afterwards.
        arrays: Arrays by name, see `packed`.
    """
    content = packed(arrays)
    # Not by `save_file`, which hides errors of the system, such as a full disk.
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        temporary.to_disk(file.fileno())
    return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass(frozen=True)
class VerifiedFile:
    """A file of arrays, whose content is hashed once, at construction.

    Attributes:
        path: A regular file; links are refused.
        sha256: Checksum of its content.

    Raises:
        TensorFileError: at construction, if the file is missing, is not a regular file
            or has another checksum.
    """

    path: pathlib.Path
    sha256: str

    def __post_init__(self):
        check(self.path, self.sha256)

    def check_header(self):
        """Refuses a file whose header cannot be read.

        Raises:
            TensorFileError: see `read`.
        """
        with self._opened() as file:
            _header(file)

    def check_shapes(self, expected: dict[str, tuple]):
        """Refuses names or shapes other than expected, according to the file's header.

        Raises:
            TensorFileError: see `read`.
        """
        with self._opened() as file:
            found = {name: shape for name, (shape, _) in _header(file).items()}
        _compare(self.path, found, expected, str)

    def read(self, expected: dict) -> dict[str, np.ndarray]:
        """Reads the arrays, after checking their names, shapes and types.

        Args:
            expected: (shape, dtype) by name, for exactly the arrays that must be there.

        Raises:
            TensorFileError: the file is not readable, or names, shapes or types differ.
        """
        expected = {
            name: (tuple(shape), str(np.dtype(dtype)))
            for name, (shape, dtype) in expected.items()
        }
        with self._opened() as file:
            found = _header(file)
            _compare(self.path, found, expected, _shown)
            return {name: file.get_tensor(name) for name in found}

    @contextlib.contextmanager
    def _opened(self):
        _check_header(self.path)
        try:
            with safe_open(self.path, framework="numpy") as file:
                yield file
        except SafetensorError as error:
            raise TensorFileError(f"{self.path}: not readable: {error}") from error


def _check_header(path):
    """Bounds the header, whose names take memory before any of them can be refused."""
    try:
        _stored_header(path)
    except plain_file.PlainFileError as error:
        raise TensorFileError(str(error)) from error


def _stored_header(path) -> tuple[int, dict]:
    """Returns the length of a file's header, and its content.

    Raises:
        PlainFileError: the file cannot be read, or has no valid header.
    """
    with plain_file.opened(path) as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > plain_file.MOST_BYTES:
            raise plain_file.PlainFileError(
                f"{path}: not readable: expected a header of at most "
                f"{plain_file.MOST_BYTES:,} bytes. Received {length:,}."
            )
        return length, plain_file.parse_json(file.read(length), path)


def _most_bytes(path) -> int:
    """Returns how large a file may be: all of it is hashed, and holes cost nothing."""
    try:
        length, header = _stored_header(path)
        ends = [entry["data_offsets"][1] for entry in header.values()]
        return _LENGTH + length + max(end for end in ends if isinstance(end, int))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return plain_file.MOST_BYTES  # Not a file of arrays, or one without arrays.


def _header(file) -> dict:
    """Returns (shape, NumPy's name of the type) by name."""
    found = {}
    for name in file.keys():  # noqa: SIM118, it is not a dict
        part = file.get_slice(name)
        found[name] = (tuple(part.get_shape()), _TYPES.get(part.get_dtype()))
    return found


def check(path, sha256: str):
    """Refuses anything but a regular file with that checksum.

    Raises:
        TensorFileError: see `VerifiedFile`.
    """
    try:
        found = plain_file.sha256(path, most=_most_bytes(path))
    except plain_file.PlainFileError as error:
        raise TensorFileError(f"expected a file of weights: {error}") from error
    if found != sha256:
        raise TensorFileError(
            f"{path}: the checksum differs from the one on record: the file is damaged "
            "or belongs to another net. Restore it or train again."
        )


def _compare(path, found, expected, shown):
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            here, there = (
                shown(entries[name]) if name in entries else "no such array"
                for entries in (expected, found)
            )
            raise TensorFileError(f"{path}: {name}: expected {here}. Received {there}.")


def _shown(entry):
    shape, dtype = entry
    return f"{dtype} of shape {shape}"
