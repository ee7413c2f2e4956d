"""Refinement leaves the field as it is; what cannot be refined is refused."""

import keras
import numpy as np
import pytest
from refinable_nets import (
    IMAGE,
    X,
    classifier,
    image_net,
    normal,
    randomize,
    small_image_net,
)

from cnet_tf.basis import BASES
from cnet_tf.checks import per_block
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.manifestation import manifest
from cnet_tf.refinement import project, refine
from cnet_tf.residual_unit import UNITS
from cnet_tf.resnet import ResNet
from cnet_tf.surgery import blocks_of
from cnet_tf.tableaus import SCHEMES

# The field and the logits


@pytest.mark.parametrize("factor", [4, (2, 1)])
@pytest.mark.parametrize("unit", UNITS)
def test_refining_constants_leaves_logits_bit_equal(unit, factor):
    """Of all blocks or of one, with slots that are refined like their weights."""
    net = image_net(unit=unit)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    for slot, weight in zip(optimizer.momentums, net.trainable_variables, strict=True):
        slot.assign(weight)
    new, twin = refine(net, factor, steps_factor=1, optimizer=optimizer)
    for slot, weight in zip(twin.momentums, new.trainable_variables, strict=True):
        np.testing.assert_array_equal(slot, weight)
    assert [b.nodes for b in blocks_of(new)] == [
        2 * one for one in per_block("factor", factor, 2)
    ]
    assert [b.steps for b in blocks_of(new)] == [2, 2]
    x = normal((4, *IMAGE))
    np.testing.assert_array_equal(new(x), net(x))


@pytest.mark.parametrize("factor", [3, 5])
@pytest.mark.parametrize("steps", [2, 6])
def test_refining_constants_by_an_odd_factor(steps, factor):
    net = image_net(steps=steps)
    x = normal((4, *IMAGE))
    y = refine(net, factor, steps_factor=1)(x)
    np.testing.assert_allclose(y, net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("basis", ["hat", "linear", "legendre"])
def test_refining_another_basis_leaves_logits(basis):
    net = image_net(basis, steps=4)
    new = refine(net, 2, steps_factor=1)
    sizes = {"hat": 5, "linear": 4, "legendre": 4}
    assert [b.nodes for b in blocks_of(new)] == [sizes[basis]] * 2
    x = normal((4, *IMAGE))
    for training in (False, True):
        np.testing.assert_allclose(
            new(x, training=training), net(x, training=training), rtol=1e-4, atol=1e-5
        )


def test_the_old_net_is_left_as_it_is():
    net = image_net()
    before = net.get_weights()
    new = refine(net)
    for v in new.variables:
        v.assign(v + 1.0)
    for old, now in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert [b.nodes for b in blocks_of(net)] == [2, 2]
    assert not {id(v) for v in net.variables} & {id(v) for v in new.variables}


def test_factor_one_is_a_copy():
    net = image_net("hat")
    x = normal((4, *IMAGE))
    np.testing.assert_array_equal(refine(net, 1)(x), net(x))


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("scheme", ["euler", "heun2", "kutta3", "rk4"])
def test_refining_the_steps_costs_the_order_of_the_scheme(float64, scheme):
    """|h_N - h_2N| = O(N^-p): doubling N divides the difference by 2^p."""

    def state(net):
        features = keras.Model(net.input, net.get_layer("block_0").output)
        return np.array(features(X.astype("float64")))

    differences = []
    for steps in (4, 8):
        net = randomize(classifier(scheme=scheme, steps=steps, horizon=2))
        new = refine(net, 2)
        assert (blocks_of(new)[0].steps, blocks_of(new)[0].nodes) == (
            2 * steps,
            4,
        )
        differences.append(np.abs(state(new) - state(net)).max())
    assert differences[1] > 1e-12
    order = np.log2(differences[0] / differences[1])
    assert order > SCHEMES[scheme].order - 0.4


@pytest.mark.parametrize("unit", ["post", "pre"])
def test_projection_undoes_refinement(unit):
    net = image_net(unit=unit)
    back = project(refine(net, 2), nodes=2)
    assert [b.nodes for b in blocks_of(back)] == [b.nodes for b in blocks_of(net)]
    for a, b in zip(net.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-7)
    x = normal((4, *IMAGE))
    np.testing.assert_allclose(back(x), net(x), rtol=1e-5, atol=1e-5)


def test_projection_to_a_larger_basis_keeps_the_field():
    """Constants on two cells are also discontinuous lines on two cells."""
    net = image_net(steps=4)
    new = project(net, "linear", nodes=4, steps=4)
    x = normal((4, *IMAGE))
    np.testing.assert_allclose(new(x), net(x), rtol=1e-5, atol=1e-5)


def test_projection_is_the_best_approximation():
    """Constants 4 -> 2: the means of pairs; to one Legendre polynomial: the mean."""
    net = image_net(nodes=4)
    pairs = project(net, nodes=2)
    mean = project(net, "legendre", nodes=1)
    assert [b.steps for b in blocks_of(pairs)] == [2, 2]
    for old, two, one in zip(
        blocks_of(net)[0].series,
        blocks_of(pairs)[0].series,
        blocks_of(mean)[0].series,
        strict=True,
    ):
        theta = old.variable.numpy()
        expected = theta.reshape(2, 2, *theta.shape[1:]).mean(axis=1)
        np.testing.assert_allclose(two.variable.numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            one.variable.numpy(), theta.mean(0, keepdims=True), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("target", [("constant", 3), ("hat", 4), ("linear", 6)])
@pytest.mark.parametrize("source", BASES)
def test_variances_stay_positive_under_every_projection(source, target):
    net = small_image_net(source, 4)
    for v in net.variables:
        if "variance" in v.name:  # what an undershoot would make negative
            v.assign(np.where(np.arange(v.shape[0]) % 2, 100.0, 1e-3)[:, None] + 0 * v)
    new = project(net, *target)
    legendre = project(net, "legendre", 3)
    for other in (new, legendre):
        for v in other.variables:
            assert "variance" not in v.name or v.numpy().min() >= 0.99e-3, v.path
        assert np.all(np.isfinite(other(normal((2, *IMAGE)))))


# Refusals


@pytest.mark.parametrize("change", [refine, project])
def test_refuses_fixed_depth_and_nets_not_built(change):
    net = ResNet(3, 1, widths=(4,), stem_width=4, input_shape=IMAGE)
    with pytest.raises(ValueError, match="model: expected one with continuous blocks"):
        change(net)
    with pytest.raises(ValueError, match="model: expected a built model"):
        change(keras.Sequential([ContinuousBlock(keras.layers.Dense(3))]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["weight", "statistic", "slot"])
def test_refuses_values_that_are_not_finite(where, bad):
    net = small_image_net()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    victim = {
        "weight": net.trainable_variables[3],
        "statistic": net.non_trainable_variables[0],
        "slot": optimizer.momentums[3],
    }[where]
    value = victim.numpy()
    value.flat[0] = bad
    victim.assign(value)
    with pytest.raises(ValueError, match="expected finite values. Received nan or inf"):
        refine(net, optimizer=optimizer)


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_refuses_factors(factor):
    with pytest.raises(ValueError, match="factor: expected an integer >= 1"):
        refine(classifier(), factor)


@pytest.mark.parametrize("factor", [0, 1.5])
def test_refuses_steps_factors(factor):
    with pytest.raises(ValueError, match="steps"):
        refine(classifier(nodes=1), 2, steps_factor=factor)


def test_refuses_unknown_bases_and_sizes():
    with pytest.raises(ValueError, match="basis: expected one of"):
        project(classifier(), "fourier")
    with pytest.raises(ValueError, match="nodes: basis 'hat' needs at least 2"):
        project(classifier(), "hat", nodes=1)


def test_refines_a_manifestation():
    twin = manifest(classifier(), "rk4", 3)
    new = refine(twin, 2)
    assert (blocks_of(new)[0].scheme, blocks_of(new)[0].steps) == ("rk4", 6)
