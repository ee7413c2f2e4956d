"""A damaged, foreign or hostile checkpoint is refused with a line."""

import json
import shutil

import pytest
from checkpoint_nets import IMAGE, built, small, weights_file

from cnet_tf import checkpoint
from cnet_tf.checkpoint import CheckpointError
from cnet_tf.continuous_net import ContinuousNet


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """Folders of saved nets, written once: only copies are damaged."""
    folders = {}
    for name, net in {
        "features": small(),
        "image": built(ContinuousNet(3, (4, 6), nodes=1, strides=(1, 2)), IMAGE),
    }.items():
        folders[name] = tmp_path_factory.mktemp(name)
        checkpoint.save(net, folders[name])
    return folders


@pytest.fixture
def saved(templates, tmp_path):
    return shutil.copytree(templates["features"], tmp_path / "net")


@pytest.fixture
def saved_image(templates, tmp_path):
    return shutil.copytree(templates["image"], tmp_path / "net")


def refuses(directory, match):
    """Loading raises a CheckpointError of one line that names the place."""
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert str(directory) in message


def test_missing_files(saved):
    refuses(saved / "nowhere", "expected a trained net, found no such file")
    weights_file(saved).unlink()
    refuses(saved, "expected a file of weights")


def test_truncated_weights(saved):
    path = weights_file(saved)
    path.write_bytes(path.read_bytes()[:-100])
    refuses(saved, "checksum differs")
    path.write_bytes(b"")
    refuses(saved, "checksum differs")


@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_one_flipped_bit(saved, position):
    path = weights_file(saved)
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 1
    path.write_bytes(bytes(data))
    refuses(saved, "checksum differs")


def test_weights_of_another_net(tmp_path):
    checkpoint.save(small(1), tmp_path / "a")
    checkpoint.save(small(2), tmp_path / "b")
    weights_file(tmp_path / "b").replace(weights_file(tmp_path / "a"))
    refuses(tmp_path / "a", "checksum differs")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "\x00\ufffd"])
def test_a_description_that_is_none(saved, text):
    (saved / "net.json").write_text(text)
    refuses(saved, "not readable|expected format")


def test_a_description_that_is_not_text(saved):
    (saved / "net.json").write_bytes(b"\xff\xfe\x00")
    refuses(saved, "not readable")
    (saved / "net.json").unlink()
    (saved / "net.json").mkdir()
    refuses(saved, "not readable")


def edit(directory, change):
    path = directory / "net.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("format", 0, "expected format 3. Received 0"),
        ("format", None, "expected format 3"),
        ("class", "Model", "class: expected one of .* Received 'Model'"),
        ("class", None, "class: expected one of"),
        ("class", ["ResNet"], "class"),
        ("class", "ResNet", "cannot be rebuilt"),
        ("policy", "float7", "cannot be rebuilt"),
        ("policy", 7, "cannot be rebuilt"),
        ("input_shape", None, "cannot be rebuilt"),
        ("input_shape", [], "cannot be rebuilt"),
        ("input_shape", [None, 5], "stem/kernel: expected float32 of shape"),
        ("input_shape", {"a": 1}, "cannot be rebuilt"),
        ("input_shape", [None, "2"], "cannot be rebuilt"),
        ("config", {}, "cannot be rebuilt"),
        ("config", None, "cannot be rebuilt"),
        ("config", [1], "cannot be rebuilt"),
        ("sha256", 7, "weights"),
        ("sha256", "../../etc/passwd", "weights"),
    ],
)
def test_edited_description(saved, key, value, match):
    edit(saved, lambda d: d.update({key: value}))
    refuses(saved, match)


@pytest.mark.parametrize(
    "key", ["class", "config", "policy", "input_shape", "metadata", "sha256"]
)
def test_missing_key(saved, key):
    edit(saved, lambda d: d.pop(key))
    refuses(saved, f"expected the keys .*'{key}'")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", 4),  # fits no weights
        ("nodes", [4, 4]),
        ("nodes", [2, 2, 2]),
        ("nodes", 1.5),
        ("nodes", "22"),
        ("widths", []),
        ("widths", "ab"),
        ("widths", [0, 6]),
        ("strides", [1, "2"]),
        ("strides", [0, 0]),
        ("steps", [0, 1]),
        ("scheme", "rk5"),
        ("scheme", None),
        ("scheme", ["rk4"]),
        ("basis", "fourier"),
        ("basis", {"kind": "hat"}),
        ("unit", "pre"),
        ("unit", ["post"]),
        ("restriction", 3),
        ("share", 3),
        ("colour", "red"),
        ("name", 3),
    ],
)
def test_edited_config(saved_image, key, value):
    edit(saved_image, lambda d: d["config"].update({key: value}))
    refuses(saved_image, "cannot be rebuilt|: expected .* Received")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("widths", [10**6, 10**6]),
        ("nodes", 10**9),
        ("classes", 10**10),
        ("stem_width", 10**6),
        ("widths", [4] * 10**6),
    ],
)
def test_a_config_far_larger_than_its_weights_takes_no_memory(
    saved_image, key, value, monkeypatch
):
    edit(saved_image, lambda d: d["config"].update({key: value}))
    monkeypatch.setitem(checkpoint._NETS, "ContinuousNet", None)  # Never called.
    refuses(saved_image, "config: expected a net of .* weights")


def test_links_are_refused(saved, tmp_path):
    path = weights_file(saved)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refuses(saved, "expected a regular file. Received a link")
