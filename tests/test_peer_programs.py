"""Peers train the very net that we train: its parameters, multiply-adds and values."""

import sys

import numpy as np
import pytest

from cnet_tf.presets import continuous_net
from trainers.peers.environment import BUILD
from trainers.peers.programs import keras_nets
from trainers.peers.run import start
from trainers.peers.table import PEERS


def ours(scheme):
    return continuous_net(f"cifar10_2-2-2_{scheme}", nodes=1, horizon=1)


def in_one_order(net):
    """Weights of a net of K = 1: plain layers list a skip behind its branch."""
    return sorted(net.weights, key=lambda weight: tuple(weight.shape[:2]) == (1, 1))


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_plain_keras_layers_are_the_same_net(scheme):
    net, mine = keras_nets.continuous_net(1, scheme), ours(scheme)
    assert keras_nets.size(net) == keras_nets.size(mine)
    random = np.random.default_rng(0)
    for one, other in zip(in_one_order(net), in_one_order(mine), strict=True):
        value = random.uniform(0.1, 0.3, one.shape)
        if len(one.shape) == 4:
            value -= 0.2
        one.assign(value)
        other.assign(value.reshape(other.shape))
    images = random.normal(size=(2, 32, 32, 3)).astype("float32")
    logits = [each(images, training=False).numpy() for each in (net, mine)]
    np.testing.assert_allclose(*logits, rtol=1e-4)


@pytest.mark.slow
def test_resnets_have_the_multiply_adds_of_the_nets_beside_them():
    for style in (keras_nets.post, keras_nets.he):
        net = keras_nets.resnet(1, "rk4", style)  # 3 x 5 units.
        beside = keras_nets.macs(ours("rk4"))
        assert keras_nets.macs(net) == pytest.approx(beside, rel=0.02)
    plain = keras_nets.size(keras_nets.resnet(2, "euler"))
    assert plain == keras_nets.size(continuous_net("resnet20"))


BUILT = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            bool(peer.requirements) and not (BUILD / peer.requirements).is_dir(),
            reason=f"{BUILD} has no environment of it",
        ),
    )
    for name, peer in PEERS.items()
    if peer.same and not peer.settings.get("compiled")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_every_peer_has_the_parameters_and_multiply_adds(name):
    needs = PEERS[name].requirements
    python = str(BUILD / needs / "bin" / "python") if needs else sys.executable
    with start(name, python, {"nodes": 1, "scheme": "rk4", "batch": 2}) as peer:
        assert peer.ask("step") > 0 and peer.ask("sgemm") > 0
        assert peer.ask("size") == keras_nets.size(ours("rk4"))
