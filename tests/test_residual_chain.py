"""Plain residual nets as chains of Euler steps, bit for bit; what is none is left."""

import keras
import numpy as np
import pytest

from cnet_tf import continuous_net
from cnet_tf.residual_chain import ResidualChain
from cnet_tf.trajectory import TappedNet

L = keras.layers


def chains(model):
    return [(flow.steps, flow.project is not None) for flow in TappedNet(model).flows]


def assert_same(model, shape):
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    np.testing.assert_array_equal(TappedNet(model)(x)[0], model(x))


@pytest.mark.parametrize(("preset", "projected"), [("resnet20", 0), ("resnet20_he", 1)])
def test_published_nets(preset, projected):
    net = continuous_net(preset, input_shape=(8, 8, 3))
    assert chains(net) == [(3, projected), (2, projected), (2, projected)]
    assert_same(net, (8, 8, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNet50", [(2, True), (3, True), (5, True), (2, True)]),
        ("MobileNetV2", [(2, False), (3, False), (2, False), (2, False)]),
    ],
)
def test_nets_of_keras(name, expected):
    build = getattr(keras.applications, name)
    net = build(weights=None, input_shape=(32, 32, 3), classes=4)
    assert chains(net) == expected
    assert_same(net, (32, 32, 3))


def dense_net(unit, count=3, tail=lambda x: x):
    inputs = x = keras.Input((4,))
    for _ in range(count):
        x = unit(x)
    return keras.Model(inputs, tail(x))


def summed(x):
    return x + L.Dense(4, "tanh")(x)


UNITS = {
    "operator": (summed, False),
    "layer": (lambda x: L.Add()([L.Dense(4)(x), x]), False),
    "relu": (lambda x: L.ReLU()(summed(x)), True),
    "activation": (lambda x: L.Activation("relu")(summed(x)), True),
    "operation": (lambda x: keras.ops.relu(summed(x)), True),
    # The ReLU of a branch is no projection.
    "pre": (lambda x: x + L.Dense(4)(L.ReLU()(x)), False),
}


@pytest.mark.parametrize("name", UNITS)
def test_units(name):
    unit, projected = UNITS[name]
    net = dense_net(unit)
    assert chains(net) == [(3, projected)]
    assert_same(net, (4,))


def test_the_last_relu_is_the_tails():
    net = dense_net(UNITS["pre"][0], tail=L.ReLU())
    assert chains(net) == [(3, False)]
    assert_same(net, (4,))


def test_a_state_that_is_read_from_outside_ends_a_chain():
    inputs = keras.Input((4,))
    a = summed(summed(inputs))
    b = summed(summed(a))
    net = keras.Model(inputs, L.Concatenate()([a, b]))
    assert chains(net) == [(2, False), (2, False)]
    x = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(TappedNet(net)(x)[0], net(x))


NONE = {
    "one unit": lambda: dense_net(summed, 1),
    "another activation": lambda: dense_net(
        lambda x: L.Activation("tanh")(summed(x)), 3
    ),
    "leaky": lambda: dense_net(lambda x: L.LeakyReLU()(summed(x)), 3),
    "two branches": lambda: dense_net(lambda x: L.Dense(4)(x) + L.Dense(4)(x)),
    "no sums": lambda: dense_net(L.Dense(4)),
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_chain_is_refused_by_name(name):
    with pytest.raises(ValueError, match="model: expected continuous blocks, or two"):
        TappedNet(NONE[name]())


def test_a_branch_that_reads_more_than_the_state_is_no_unit():
    inputs, other = keras.Input((4,)), keras.Input((4,))
    x = inputs
    for _ in range(2):
        x = x + L.Dense(4)(x * other)
    with pytest.raises(ValueError, match="model: expected continuous blocks"):
        TappedNet(keras.Model([inputs, other], x))


def test_half_steps_are_steps_of_each_unit_and_projected():
    up, down = (lambda x: 0 * x + 1), (lambda x: 0 * x - 2)
    chain = ResidualChain("c", (up, down), 2, project=lambda x: np.maximum(x, 0))
    assert chain(np.array([0.25])) == 0
    plain = ResidualChain("c", (up, down), 2)
    for scheme, n in (("euler", 4), ("euler", 6), ("rk4", 2)):
        assert plain.manifested(scheme, n)(np.array([0.25])) == pytest.approx(-0.75)
    # 0.25 -> 0.75 -> 1.25 -> 0.25 -> 0, where it stays.
    assert chain.manifested(steps=4)(np.array([0.25])) == 0


def test_steps_across_units_are_refused():
    chain = ResidualChain("c", (abs, abs), 2)
    with pytest.raises(ValueError, match="steps: expected a multiple of 2, the units"):
        chain.manifested(steps=3)
    with pytest.raises(ValueError, match="scheme: expected one of"):
        chain.manifested(scheme="rk5")
