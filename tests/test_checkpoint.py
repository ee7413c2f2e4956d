"""A net on disk comes back bit for bit, or not at all."""

import hashlib
import json
import os
import shutil

import keras
import numpy as np
import pytest
from checkpoint_nets import IMAGE, drawn, files, image_net, normal, small

from cnet_tf import checkpoint
from cnet_tf.architecture import described
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.manifestation import manifest
from cnet_tf.refinement import refine
from cnet_tf.resnet import ResNet

NETS = {
    "ContinuousNet": lambda: image_net(nodes=(1, 2), scheme="heun2", steps=3),
    "ContinuousNet-pre-hat": lambda: image_net(unit="pre", basis="hat", nodes=3),
    "ContinuousNet-options": lambda: image_net(
        horizon=0.5,
        stitch=(0.25, 2),
        padding="same",
        tail_momentum=0.5,
        restriction="point",
        stem_width=5,
        unit="skip_init",
    ),
    "ResNet": lambda: drawn(
        ResNet(3, 1, widths=(4, 6), stem_width=4, input_shape=IMAGE)
    ),
    "ResNet-wide": lambda: drawn(ResNet(3, 1, (4,), "wide", 4, input_shape=IMAGE)),
    "ContinuousClassifier": small,
    "manifestation": lambda: manifest(image_net(), "euler", 3),
    "refined": lambda: refine(image_net(nodes=1), (2, 3)),
}


def text(net):
    return json.dumps(described(net), sort_keys=True)


def inputs(net):
    return normal((3, *net.input_shape[1:]))


@pytest.mark.parametrize("name", NETS)
def test_comes_back_bit_for_bit(name, tmp_path):
    net = NETS[name]()
    metadata = {"mean": [0.5, 0.25, 0.125], "name": name, "epoch": 7}
    checkpoint.save(net, tmp_path / "new" / "folder", metadata)
    found = checkpoint.load(str(tmp_path / "new" / "folder"))
    assert found.metadata == metadata
    assert found.net.name == net.name
    assert text(found.net) == text(net)
    assert len(found.net.variables) == len(net.variables)
    for a, b in zip(net.variables, found.net.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(found.net(inputs(net)), net(inputs(net)))


def test_a_net_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    old, new = small(1), small(2)
    checkpoint.save(old, tmp_path)
    real = checkpoint.tensor_file.check

    def check(*arguments):
        monkeypatch.undo()
        checkpoint.save(new, tmp_path)
        return real(*arguments)

    monkeypatch.setattr(checkpoint.tensor_file, "check", check)
    found = checkpoint.load(tmp_path).net
    for a, b in zip(found.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_are_hashed_once(tmp_path, monkeypatch):
    checkpoint.save(small(), tmp_path)
    hashed, real = [], checkpoint.tensor_file.check
    monkeypatch.setattr(
        checkpoint.tensor_file,
        "check",
        lambda path, sha256: hashed.append(path) or real(path, sha256),
    )
    checkpoint.load(tmp_path)
    assert hashed == list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("other", ["name", "content"])
def test_only_the_verified_file_itself_is_not_hashed_again(tmp_path, other):
    """Damage is found although another verified file is passed."""
    checkpoint.save(small(), tmp_path / "net")
    (weights,) = (tmp_path / "net").glob("*.safetensors")
    sha256 = checkpoint.load(tmp_path / "net").sha256
    if other == "name":
        copy = shutil.copy(weights, tmp_path / weights.name)
        verified = checkpoint.tensor_file.VerifiedFile(copy, sha256)
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    else:
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
        verified = checkpoint.tensor_file.VerifiedFile(weights, found)
    with pytest.raises(checkpoint.CheckpointError, match="checksum differs"):
        checkpoint.load(tmp_path / "net", [verified])


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
    wide = "float32" if policy == "mixed_bfloat16" else policy  # The head.
    checkpoint.save(net, tmp_path)
    loaded = checkpoint.load(tmp_path).net
    assert loaded.get_layer("block_0").rate.layers[0].dtype_policy.name == policy
    assert loaded.get_layer("head").dtype_policy.name == wide
    np.testing.assert_array_equal(loaded(inputs(net)), net(inputs(net)))


def test_any_image_size_comes_back(tmp_path):
    net = ContinuousNet(3, (4,), strides=1, input_shape=(None, None, 3))
    checkpoint.save(net, tmp_path)
    loaded = checkpoint.load(tmp_path).net
    for size in (8, 11):
        x = normal((2, size, size, 3))
        np.testing.assert_array_equal(loaded(x), net(x))


def user_model():
    """Two inputs and outputs, a model within it, a frozen part."""
    inner = keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization()])
    unit = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dropout(0.5)])
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x = inner(a) + b
    x = ContinuousBlock(unit, nodes=2, scheme="midpoint", name="flow")(x)
    heads = [keras.layers.Dense(n, name=f"head_{n}")(x) for n in (2, 3)]
    model = keras.Model([a, b], heads, name="mine")
    inner.trainable = False
    model.get_layer("head_2").trainable = False
    return drawn(model)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_of_a_user_comes_back(tmp_path, compiled):
    net = user_model()
    if compiled:  # Which is no part of the net.
        losses = [keras.losses.MeanSquaredError() for _ in net.outputs]
        net.compile(keras.optimizers.SGD(0.1, momentum=0.9), losses)
    checkpoint.save(net, tmp_path)
    loaded = checkpoint.load(tmp_path).net
    x = [normal((3, 4), seed) for seed in (1, 2)]
    for mine, other in zip(net(x), loaded(x), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert text(loaded) == text(net)
    frozen = [[v.trainable for v in n.variables] for n in (net, loaded)]
    assert frozen[0] == frozen[1]
    assert not all(frozen[0]) and any(frozen[0])


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


def test_refuses_a_net_that_is_not_built(tmp_path):
    net = keras.Sequential([keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="net: expected a built functional or Seq"):
        checkpoint.save(net, tmp_path)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: keras.layers.Lambda(lambda x: x), "none of which holds code"),
        (lambda: keras.layers.Rescaling(1e9), "scale: expected"),
        (lambda: keras.layers.UpSampling2D(4000), "at most .* numbers per example"),
        (lambda: keras.layers.ReLU(name="a layer"), "name: expected"),
    ],
)
def test_refuses_a_net_that_it_could_not_read_back(tmp_path, layer, message):
    net = keras.Sequential([keras.Input((8, 8, 1)), layer()])
    with pytest.raises(ValueError, match=message):
        checkpoint.save(net, tmp_path)
    assert not files(tmp_path)
