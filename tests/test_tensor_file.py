"""Arrays come back bit for bit, and nothing else comes back."""

import hashlib
import json
import pickle
import struct

import numpy as np
import pytest

from cnet_tf import tensor_file
from cnet_tf.tensor_file import TensorFileError, VerifiedFile

ARRAYS = {
    "block/kernel": np.random.default_rng(0).normal(size=(2, 3)).astype("float32"),
    "iterations": np.array(7, "int64"),
    "special": np.array([np.nan, np.inf, -0.0, 1e-42], "float32"),
    "transposed": np.arange(6, dtype="float64").reshape(2, 3).T,
}


def expected(arrays):
    return {name: (a.shape, a.dtype) for name, a in arrays.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.safetensors"


def test_arrays_come_back_bit_for_bit(path):
    sha256 = tensor_file.write(path, ARRAYS)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    file = VerifiedFile(path, sha256)
    found = file.read(expected(ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        assert found[name].tobytes() == array.tobytes()
    file.check_shapes({name: a.shape for name, a in ARRAYS.items()})


def test_the_order_of_the_names_changes_nothing(path):
    reverse = dict(reversed(ARRAYS.items()))
    assert tensor_file.write(path, ARRAYS) == tensor_file.write(path, reverse)


@pytest.mark.parametrize(
    "change, match",
    [
        (
            {"iterations": ((1,), "int64")},
            "iterations: expected int64 of shape",
        ),
        ({"iterations": ((), "int32")}, "iterations: expected int32 .*Received int64"),
        ({"more": ((2,), "float32")}, "more: expected float32 .*Received no such"),
    ],
)
def test_other_arrays_than_expected_are_refused(path, change, match):
    file = VerifiedFile(path, tensor_file.write(path, ARRAYS))
    with pytest.raises(TensorFileError, match=match):
        file.read({**expected(ARRAYS), **change})
    fewer = {name: array for name, array in ARRAYS.items() if name != "special"}
    with pytest.raises(TensorFileError, match="special: expected no such array"):
        file.read(expected(fewer))
    with pytest.raises(TensorFileError, match="special: expected no such array"):
        file.check_shapes({name: a.shape for name, a in fewer.items()})


def header(text: bytes, data=b""):
    return struct.pack("<Q", len(text)) + text + data


HUGE = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
LAPPED = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        pickle.dumps({"a": 1}),
        header(b"{"),
        header(b'{"a": 3}'),
        header(json.dumps(HUGE).encode()),
        header(json.dumps(LAPPED).encode(), bytes(12)),
        struct.pack("<Q", 2**62) + b"{}",
    ],
    ids=["empty", "hdf5", "pickle", "cut", "type", "huge", "overlap", "long header"],
)
def test_foreign_content_is_refused_even_with_its_own_checksum(path, content):
    path.write_bytes(content)
    file = VerifiedFile(path, hashlib.sha256(content).hexdigest())
    for read in (file.check_shapes, file.read):
        with pytest.raises(TensorFileError, match="not readable") as caught:
            read({})
        assert "\n" not in str(caught.value)


def test_pipes_links_and_folders_are_refused(tmp_path, path):
    sha256 = tensor_file.write(path, ARRAYS)
    (tmp_path / "link").symlink_to(path)
    for name in ("link", ""):
        with pytest.raises(TensorFileError, match="expected a regular file"):
            VerifiedFile(tmp_path / name, sha256)
    with pytest.raises(TensorFileError, match="No such file"):
        VerifiedFile(tmp_path / "none", sha256)


def test_a_full_disk_is_an_error_of_the_system():
    with pytest.raises(OSError, match="No space left"):
        tensor_file.write("/dev/full", ARRAYS)
