"""The states within blocks, at any depth, and theta(t)."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from flows import block_net, plain_net, states

from cnet_tf import ContinuousBlock, ContinuousNet, continuous_net, manifest
from cnet_tf import trajectory as inside
from cnet_tf.any_depth import with_members
from cnet_tf.trajectory import TappedNet, state_at, theta
from trainers.inside_report import courses

X = states(5)


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_state_at_the_end_is_the_output(scheme, steps):
    net = block_net(scheme, steps)
    part = keras.Model(net.input, net.get_layer("block").output)
    np.testing.assert_array_equal(state_at(net, "block", X, 1), part(X))
    np.testing.assert_array_equal(state_at(net, None, X, 0), X)


def test_states_between_are_those_of_the_steps():
    """Of Euler over two cells they are residual units; half a step is half of one."""
    net = block_net("euler", 2)
    plain = plain_net(net)
    first = plain.layers[1](X).numpy()
    np.testing.assert_allclose(state_at(net, None, X, "1/2"), X + first, rtol=1e-12)
    np.testing.assert_allclose(state_at(net, None, X, "1/4"), X + first / 2, rtol=1e-12)
    for t in ("1/4", "1/2", "2/3"):
        twin = state_at(plain, "chain_0", X, t)
        np.testing.assert_allclose(state_at(net, None, X, t), twin, rtol=1e-12)


@pytest.mark.parametrize("scheme", ["midpoint", "heun2", "rk4", "rk4_38", "dopri5"])
def test_a_state_at_a_border_reads_no_cell_behind_it(scheme):
    """dx/dt = theta(t), in cells of 1, 100 and 10,000; steps do not end there."""
    x = keras.Input((1,), dtype="float64")
    unit = keras.layers.Dense(1, kernel_initializer="zeros", dtype="float64")
    block = ContinuousBlock(unit, 3, scheme, 4, dtype="float64", name="block")
    net = keras.Model(x, block(x))
    block.series[1].variable.assign([[1.0], [100.0], [10_000.0]])
    found = state_at(net, "block", np.zeros((1, 1)), "1/3")
    np.testing.assert_allclose(found, [[1 / 3]], rtol=1e-12)


def test_finer_steps_approach_the_solution():
    net = block_net("rk4", 2)
    t = Fraction(1, 3)
    coarse, fine, finest = (state_at(net, None, X, t, refined=r) for r in (1, 4, 16))
    errors = [np.abs(y - finest).max() for y in (coarse, fine)]
    assert errors[1] < errors[0] / 50


def test_the_state_of_a_step_across_cells_reads_the_average_of_the_whole_step():
    net = block_net("euler", 1)
    whole = state_at(net, None, X, 1) - X
    np.testing.assert_allclose(state_at(net, None, X, "1/4") - X, whole / 4)


def test_depths_that_are_none_are_refused():
    net = block_net()
    with pytest.raises(TypeError, match="t: expected an exact Fraction"):
        state_at(net, None, X, 0.5)
    with pytest.raises(ValueError, match="t: expected 0 <= t <= 1. Received 2"):
        state_at(net, None, X, 2)
    with pytest.raises(ValueError, match="block: expected one of block. Received 'b'"):
        state_at(net, "b", X, 1)


def test_blocks_within_models_masks_and_tokens():
    net = continuous_net("sequence_transformer", vocabulary=20, input_shape=(6,))
    tokens = np.array([[3, 4, 5, 0, 0, 0]])
    tapped = TappedNet(net)
    np.testing.assert_array_equal(tapped(tokens)[0], net(tokens))
    ((x, mask),) = tapped.starts(tokens)
    np.testing.assert_array_equal(mask, tokens > 0)
    seen = inside.states(tapped.flows[0], x, mask)
    assert len(seen) == net.get_layer("block_0").steps + 1
    own = tapped(tokens, {0: lambda x, mask: seen[-1]})[0]
    np.testing.assert_allclose(own, net(tokens), rtol=1e-6)


def test_a_member_is_looked_into_with_its_own_norms():
    net = continuous_net("cifar10_any_depth", widths=(4,), strides=(1,))
    for v in net.variables:
        if "moving_mean_euler_1" in v.path:
            v.assign(v + 1.0)
    x = np.ones((1, 32, 32, 3), "float32")
    member = manifest(net, "euler", 1)
    kinds = [TappedNet(m).flows[0] for m in (net, member)]
    assert len({len(theta(block)[1]) for block in kinds} | {12}) == 1
    np.testing.assert_array_equal(TappedNet(member)(x)[0], member(x))
    assert np.abs(TappedNet(net)(x)[0] - member(x)).max() > 0


def test_theta_is_drawn_cell_by_cell():
    block = block_net().get_layer("block")
    depths, curves = theta(block, points=3)
    np.testing.assert_array_equal(depths, [0, 0.25, 0.5, 0.5, 0.75, 1])
    kernels = [c for name, c in curves.items() if name.endswith("dense/kernel")]
    for curve, series in zip(curves.values(), block.series, strict=True):
        values = series.variable.numpy()
        np.testing.assert_array_equal(curve[[0, 2, 3, 5]], values[[0, 0, 1, 1]])
    for curve in kernels:
        norms = np.linalg.norm(curve, axis=1)
        np.testing.assert_allclose(inside.per_channel(curve), norms)
    assert all(inside.per_channel(c).ndim == 2 for c in curves.values())


def test_finer_steps_than_those_of_a_member_read_what_manifest_has_them_read():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 6, 6, 2)).astype("float32")
    settings = {"widths": (4,), "strides": (1,), "nodes": 2, "scheme": "midpoint"}
    net = ContinuousNet(3, **settings, input_shape=(6, 6, 2))
    net = with_members(net, ["midpoint:2"])
    for v in net.variables:
        if "moving_mean_midpoint_2" in v.path:
            v.assign(v + 1.0)
    member = manifest(net, "midpoint", 2)
    found = state_at(member, "block_0", images, 1, refined=2)
    x, _ = TappedNet(member).starts(images)[0]
    (fine,) = TappedNet(manifest(member, "midpoint", 4)).flows
    np.testing.assert_array_equal(found, fine(x))
    (course,) = courses(TappedNet(member), [(images, None)], 2)
    ends = inside.squares([state_at(member, "block_0", images, 1)], [found])
    np.testing.assert_allclose(course.error[-1], np.sqrt(ends.mean()), rtol=1e-5)
