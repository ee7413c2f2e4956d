"""Folded graphs give the logits of the net, with fewer operations."""

import collections

import keras
import numpy as np
import pytest
from chains import chain, lifted

import cnet_tf
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.layer_factory import PADDINGS
from cnet_tf.paths import named_variables
from cnet_tf.residual_unit import UNITS
from cnet_tf.resnet import STYLES, ResNet
from cnet_tf.series import RESTRICTIONS
from cnet_tf.surgery import blocks_of
from export import graph_cost
from export.folding import fold

SHAPE = (6, 5, 2)


def perturbed(net, positive=False):
    """Norms far from neutral: gammas of both signs and zeros, shifts, variances."""
    rng = np.random.default_rng(0)
    for v in net.variables:
        value = v.numpy()
        if v.name == "gamma":
            value = rng.uniform(0.5, 1.5, v.shape)
            if not positive:
                value *= rng.choice([-1, 1], v.shape)
                value[..., 0] = 0.0
        elif v.name == "moving_variance":
            value = rng.uniform(0.5, 2, v.shape)
        elif v.name in ("beta", "moving_mean", "bias", "alpha"):
            value = rng.uniform(-0.5, 0.5, v.shape)
        v.assign(value)
    return net


def net_of(**overrides):
    settings = {"widths": (4, 6), "strides": (1, 2), "nodes": 2, "input_shape": SHAPE}
    settings |= overrides
    return cnet_tf.ContinuousNet(3, **settings)


def images(count=5):
    return np.random.default_rng(1).normal(size=(count, *SHAPE)).astype("float32")


def assert_same(net, tolerance=2e-5):
    graph = fold(net)
    for count in (1, 5):
        expected = net(images(count), training=False).numpy()
        found = graph(images(count), training=False).numpy()
        np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)
    assert np.std(expected) > 1e-2
    return graph


@pytest.mark.slow
@pytest.mark.parametrize("scheme", cnet_tf.SCHEMES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_every_scheme_with_fewer_as_many_and_more_steps(scheme, steps):
    assert_same(perturbed(net_of(scheme=scheme, steps=steps)))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_every_unit(unit, scheme):
    assert_same(perturbed(net_of(unit=unit, scheme=scheme)))


@pytest.mark.slow
@pytest.mark.parametrize("basis", cnet_tf.BASES)
@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_every_basis(basis, restriction):
    net = net_of(basis=basis, nodes=4, steps=3, restriction=restriction)
    assert_same(perturbed(net))


@pytest.mark.parametrize("settings", [{"horizon": 0.75}, {"stitch": -0.5}])
def test_horizon_and_stitch(settings):
    assert_same(perturbed(net_of(**settings)))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(6, 5), (5, 4)])
def test_paddings_on_even_and_odd_sizes(padding, size):
    net = perturbed(net_of(padding=padding, input_shape=(None, None, 2)))
    x = np.random.default_rng(1).normal(size=(3, *size, 2)).astype("float32")
    expected = net(x, training=False).numpy()
    np.testing.assert_allclose(fold(net)(x), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.slow
def test_a_pad_is_an_attribute_of_its_convolution():
    nets = [perturbed(net_of(padding=padding)) for padding in PADDINGS]
    same, symmetric = (counts(fold(net)) for net in nets)
    assert same == symmetric
    assert counts(nets[1])["Pad"] == 1


@pytest.mark.parametrize("style", STYLES)
def test_residual_networks(style):
    assert_same(perturbed(ResNet(3, 2, (4, 6), style, stem_width=4, input_shape=SHAPE)))


def sequential(*layers):
    return keras.Sequential([keras.Input(SHAPE), *layers])


def test_other_activations_than_relu():
    """tanh and gelu are not homogeneous: no factor may pass them."""
    rate = lifted(("conv", "tanh", "norm", "conv", "gelu", "norm"), 4, "linear", 2)
    stem = chain(("conv", "norm", "gelu"), 4)
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    assert_same(perturbed(sequential(stem, ContinuousBlock(rate, steps=2), *head)))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_dense_nets(activation):
    settings = {"steps": 3, "activation": activation, "input_shape": (4,)}
    net = cnet_tf.ContinuousClassifier(3, width=5, **settings)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 4)).astype("float32")
    for v in net.variables:
        v.assign(rng.normal(size=v.shape) / 2)
    expected = net(x)
    np.testing.assert_allclose(fold(net)(x), expected, atol=1e-6, rtol=1e-5)


def test_epsilon_of_the_norm_counts():
    net = sequential(chain(("norm",), 2))
    (variance,) = (v for v in net.variables if v.name == "moving_variance")
    variance.assign(variance * 1e-5)  # As large as epsilon.
    np.testing.assert_allclose(fold(net)(images()), net(images()), rtol=1e-5)


def test_nothing_of_it_is_trained_and_the_net_still_is():
    net = perturbed(net_of())
    before = len(net.trainable_variables)
    graph = fold(net)
    shared = {id(v) for v in net.variables}
    assert not any(v.trainable for v in graph.variables if id(v) not in shared)
    assert len(net.trainable_variables) == before


def test_equal_numbers_of_other_shapes_are_not_shared():
    """A dense layer and a 1x1 convolution of zeros: (2, 2) and (1, 1, 2, 2)."""
    net = sequential(keras.layers.Dense(2), keras.layers.Conv2D(2, 1))
    for v in net.variables:
        v.assign(np.full(v.shape, float(v.name == "bias")))
    np.testing.assert_array_equal(fold(net)(images()), np.ones((5, *SHAPE)))


def test_series_are_copied_and_the_net_is_left_alone():
    net = perturbed(net_of())
    before = [v.numpy() for v in net.variables]
    graph = fold(net)
    logits = graph(images()).numpy()
    for old, v in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(old, v.numpy())
    for block in blocks_of(net):
        for series in block.series:
            series.variable.assign(series.variable + 1.0)
    np.testing.assert_array_equal(graph(images()), logits)


def counts(graph):
    return collections.Counter(graph_cost.operations(graph, SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme, multiplications", [("euler", 0), ("midpoint", 1), ("rk4", 5)]
)
def test_multiplications_that_are_left(scheme, multiplications):
    """Of the coefficients 1/2 1/2 1, 1/6 1/3 1/3 1/6 of RK4 two are in the kernels."""
    net = perturbed(net_of(scheme=scheme, steps=3, horizon=0.7), positive=True)
    found = counts(assert_same(net))
    assert found["Mul"] == multiplications * 3 * 2  # steps, blocks
    assert found["Mul"] < counts(net)["Mul"]
    assert graph_cost.node_count(fold(net), SHAPE) < graph_cost.node_count(net, SHAPE)


@pytest.mark.parametrize("scheme", cnet_tf.SCHEMES)
def test_the_coefficient_that_slopes_meet_most_often_is_in_the_kernels(scheme):
    tableau = cnet_tf.SCHEMES[scheme]
    uses = [c for row in (*tableau.a, tableau.b) for c in row if c != 0]
    net = net_of(scheme=scheme, widths=(4,), strides=(1,), nodes=1, steps=2)
    found = counts(fold(perturbed(net, positive=True)))
    assert found["Mul"] == 2 * (len(uses) - max(map(uses.count, uses)))


def test_signs_are_multiplied_once_an_evaluation():
    """Those of the first norm go on into the second kernel, also that of a zero."""
    net = perturbed(net_of(scheme="euler", steps=3), positive=True)
    gammas = {k: v for k, v in named_variables(net).items() if v.name == "gamma"}
    inner = [v for path, v in gammas.items() if "norm_0" in path]
    outer = [v for path, v in gammas.items() if "rate/norm_1" in path]
    for v in inner:
        v.assign(v * np.resize([-1.0, 0.0, 1.0], v.shape))
    assert counts(assert_same(net))["Mul"] == 0
    for v in outer:
        v.assign(v * np.resize([-1.0, 1.0], v.shape))
    assert len(inner) == 4 and len(outer) == 2
    assert counts(assert_same(net))["Mul"] == 3 * 2  # steps, blocks


@pytest.mark.parametrize("steps", [2, 3])
def test_nodes_that_are_saved(steps):
    """A product for every norm, stitch and step of Euler, as none is 1, and the pad."""
    net = perturbed(net_of(scheme="euler", steps=steps), positive=True)
    stem, transitions, rates = 1, 1 * 2, 2 * steps * 2
    stitches, pad = 2 * 2, 1  # A rescaling multiplies and adds.
    expected = stem + transitions + rates + steps * 2 + stitches + pad
    saved = graph_cost.node_count(net, SHAPE) - graph_cost.node_count(fold(net), SHAPE)
    assert saved == expected
    assert graph_cost.macs(fold(net), SHAPE) == graph_cost.macs(net, SHAPE)


def test_nodes_of_one_evaluation():
    """conv, bias, relu, shift twice, and the sum: nine instead of more."""
    nodes = [
        graph_cost.node_count(
            fold(perturbed(net_of(scheme="euler", nodes=1, steps=n), positive=True)),
            SHAPE,
        )
        for n in (1, 2)
    ]
    assert nodes[1] - nodes[0] == 9 * 2


@pytest.mark.parametrize("scheme", ["euler", "midpoint", "rk4"])
def test_evaluations_of_the_same_weights_share_them(scheme):
    sizes = [
        fold(perturbed(net_of(scheme=scheme, steps=n))).count_params() for n in (2, 8)
    ]
    assert sizes[0] == sizes[1] < perturbed(net_of()).count_params()
