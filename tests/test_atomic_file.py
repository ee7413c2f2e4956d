"""A file is the old one or the new one, and a failure leaves nothing behind."""

import json
import os

import pytest

from cnet_tf import atomic_file


def test_json_is_sorted_and_ends_with_a_line(tmp_path):
    atomic_file.write_json(tmp_path / "a.json", {"b": 1, "a": [0.5]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": [0.5], "b": 1}
    assert text.index('"a"') < text.index('"b"') and text.endswith("}\n")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    atomic_file.write_bytes(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        atomic_file.write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    monkeypatch.undo()
    atomic_file.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
