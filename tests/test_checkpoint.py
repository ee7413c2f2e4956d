"""A net on disk comes back bit for bit, or not at all."""

import json
import os
import shutil

import keras
import numpy as np
import pytest

from cnet_tf import checkpoint
from cnet_tf.checkpoint import CheckpointError
from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.manifestation import manifest
from cnet_tf.refinement import refine
from cnet_tf.resnet import ResNet

IMAGE = (8, 8, 3)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(net, shape, seed=1):
    net.build((None, *shape))
    rng = np.random.default_rng(seed)
    for v in net.variables:
        value = rng.normal(size=v.shape, scale=0.3)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)
    return net


def image_net(**arguments):
    return built(ContinuousNet(3, (4, 6), strides=(1, 2), **arguments), IMAGE)


def small(seed=1):
    return built(ContinuousClassifier(3, width=4), (2,), seed)


NETS = {
    "ContinuousNet": lambda: image_net(nodes=(1, 2), scheme="heun2", steps=3),
    "ContinuousNet-pre-hat": lambda: image_net(unit="pre", basis="hat", nodes=3),
    "ContinuousNet-options": lambda: image_net(
        horizon=0.5, stitch=0.25, restriction="point", stem_width=5, unit="skip_init"
    ),
    "ResNet": lambda: built(ResNet(3, 1, widths=(4, 6), stem_width=4), IMAGE),
    "ResNet-wide": lambda: built(ResNet(3, 1, (4,), True, 4), IMAGE),
    "ContinuousClassifier": small,
    "manifestation": lambda: manifest(image_net(), "euler", 3),
    "refined": lambda: refine(image_net(nodes=1), 2),
}


def inputs(net):
    return normal((3, 2) if isinstance(net, ContinuousClassifier) else (3, *IMAGE))


@pytest.mark.parametrize("name", NETS)
def test_comes_back_bit_for_bit(name, tmp_path):
    net = NETS[name]()
    metadata = {"mean": [0.5, 0.25, 0.125], "name": name, "epoch": 7}
    checkpoint.save(net, tmp_path / "new" / "folder", metadata)
    found = checkpoint.load(str(tmp_path / "new" / "folder"))
    assert found.metadata == metadata
    assert type(found.net) is type(net)
    assert found.net.get_config() == net.get_config()
    assert len(found.net.variables) == len(net.variables)
    for a, b in zip(net.variables, found.net.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(found.net(inputs(net)), net(inputs(net)))


def test_a_net_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    old, new = small(1), small(2)
    checkpoint.save(old, tmp_path)
    real = checkpoint.tensor_file.elements

    def elements(*arguments):
        monkeypatch.undo()
        checkpoint.save(new, tmp_path)
        return real(*arguments)

    monkeypatch.setattr(checkpoint.tensor_file, "elements", elements)
    found = checkpoint.load(tmp_path).net
    for a, b in zip(found.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_metadata_are_optional(tmp_path):
    checkpoint.save(small(), tmp_path)
    assert checkpoint.load(tmp_path).metadata == {}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_the_policy_comes_back(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        net = image_net()
    finally:
        keras.config.set_dtype_policy("float32")
    checkpoint.save(net, tmp_path)
    loaded = checkpoint.load(tmp_path).net
    assert loaded.dtype_policy.name == policy
    np.testing.assert_array_equal(loaded(inputs(net)), net(inputs(net)))


def test_any_image_size_comes_back(tmp_path):
    net = ContinuousNet(3, (4,), strides=1)
    net.build((None, None, None, 3))
    checkpoint.save(net, tmp_path)
    loaded = checkpoint.load(tmp_path).net
    for size in (8, 11):
        x = normal((2, size, size, 3))
        np.testing.assert_array_equal(loaded(x), net(x))


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def weights_file(directory):
    (path,) = directory.glob("*.safetensors")
    return path


def test_overwriting_keeps_one_weights_file(tmp_path):
    for seed in range(3):
        checkpoint.save(small(seed), tmp_path, {"seed": seed})
        assert len(files(tmp_path)) == 2
    found = checkpoint.load(tmp_path)
    assert found.metadata == {"seed": 2}
    np.testing.assert_array_equal(found.net(normal((3, 2))), small(2)(normal((3, 2))))
    checkpoint.save(small(2), tmp_path, {"seed": 2})  # the same content again
    assert len(files(tmp_path)) == 2
    assert checkpoint.load(tmp_path).metadata == {"seed": 2}


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


@pytest.mark.parametrize("survived", [0, 1])
def test_a_crash_while_saving_leaves_the_old_net(tmp_path, monkeypatch, survived):
    """Killed at the first rename (weights) and at the second (description)."""
    old, new = small(1), small(2)
    checkpoint.save(old, tmp_path, {"seed": 1})
    replace, calls = os.replace, []

    def dying(*args):
        calls.append(args)
        if len(calls) > survived:
            raise Killed
        replace(*args)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(Killed):
        checkpoint.save(new, tmp_path, {"seed": 2})
    monkeypatch.undo()
    assert len(calls) == survived + 1
    found = checkpoint.load(tmp_path)
    assert found.metadata == {"seed": 1}
    np.testing.assert_array_equal(found.net(normal((3, 2))), old(normal((3, 2))))
    # and the next save clears up
    checkpoint.save(new, tmp_path, {"seed": 2})
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert checkpoint.load(tmp_path).metadata == {"seed": 2}


def test_a_crash_before_the_old_weights_are_removed_leaves_the_new_net(
    tmp_path, monkeypatch
):
    checkpoint.save(small(1), tmp_path, {"seed": 1})

    def dying(*args, **kwargs):
        raise Killed

    monkeypatch.setattr("pathlib.Path.unlink", dying)
    with pytest.raises(Killed):
        checkpoint.save(small(2), tmp_path, {"seed": 2})
    monkeypatch.undo()
    assert checkpoint.load(tmp_path).metadata == {"seed": 2}


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
        ("format", 0, "expected format 2. Received 0"),
        ("format", None, "expected format 2"),
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


def test_refuses_a_net_that_is_not_built(tmp_path):
    with pytest.raises(ValueError, match="built"):
        checkpoint.save(ContinuousClassifier(3, width=4), tmp_path)
