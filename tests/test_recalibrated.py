"""Recalibrated twins: norms that are true of each evaluation, a net left alone."""

import keras
import numpy as np
import pytest
from refinable_nets import randomize

from cnet_tf import ContinuousBlock, ContinuousNet, manifest, recalibrated, to_plain
from cnet_tf.any_depth import member_read, members_of, with_members, with_own_norms
from cnet_tf.resnet import ResNet
from cnet_tf.surgery import blocks_of, with_blocks
from export.folding import fold

layers = keras.layers
IMAGE = (8, 8, 2)
MANIFESTATIONS = [("euler", 1), ("midpoint", 1), ("rk4", 1), ("heun2", 3), ("rk4", 2)]


def images(count=16, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, *IMAGE))
    return x.astype("float32")


def net_of(**arguments):
    arguments = {"nodes": 2, "scheme": "midpoint", **arguments}
    net = ContinuousNet(3, (4, 6), strides=(1, 2), input_shape=IMAGE, **arguments)
    randomize(net)
    return net


def with_other_blocks(net):
    """Two schemes in one net."""
    block, form = blocks_of(net)[0], {"scheme": "rk4", "steps": 1}
    return with_blocks(net, [block], lambda b, i: b.manifested(**form), share=True)


class Opaque(layers.Layer):
    """A layer with a norm that Keras cannot rearrange."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()

    def call(self, inputs, training=None):
        return self.norm(inputs, training=training)


def around(layer):
    """A net with a block behind that layer."""
    unit = keras.Sequential([layers.Conv2D(2, 3, padding="same")])
    net = keras.Sequential(
        [
            keras.Input(IMAGE),
            layer,
            ContinuousBlock(unit, nodes=2),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    randomize(net)
    return net


def values(net):
    return [np.array(v) for v in net.variables]


@pytest.mark.parametrize(
    "restriction, basis, nodes",
    [("average", "constant", 4), ("quadrature", "constant", 4), ("point", "hat", 3)],
)
@pytest.mark.parametrize("scheme, steps", MANIFESTATIONS)
def test_what_it_gives_for_a_batch_is_what_training_gives(
    scheme, steps, restriction, basis, nodes
):
    net = net_of(basis=basis, nodes=nodes, restriction=restriction)
    twin = recalibrated(manifest(net, scheme, steps), [images()])
    expected = twin(images(), training=True)
    np.testing.assert_allclose(twin(images()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "scheme, steps, unit",
    [("euler", 1, "post"), ("rk4", 1, "pre"), ("heun2", 3, "pre")],
)
def test_it_starts_as_the_net_that_is_then_left_alone(scheme, steps, unit):
    net = with_members(net_of(unit=unit), ["euler:1"])
    randomize(net)
    one = manifest(net, scheme, steps)
    before, output = values(net), np.array(one(images()))
    np.testing.assert_allclose(with_own_norms(one)(images()), output, atol=1e-5)
    twin = recalibrated(one, [images(seed=1)])
    assert np.abs(twin(images()) - output).max() > 1e-3
    for old, new in zip(before, values(net), strict=True):
        np.testing.assert_array_equal(old, new)
    kernels = [v for v in net.variables if v.name == "kernel"]
    assert kernels == [v for v in twin.variables if v.name == "kernel"]
    # Members that it had keep what they had.
    assert set(members_of(twin)) == {"euler:1", f"{scheme}:{steps}"}
    if (scheme, steps) != ("euler", 1):
        found = manifest(twin, "euler", 1)(images())
        np.testing.assert_array_equal(found, manifest(net, "euler", 1)(images()))


@pytest.mark.slow
@pytest.mark.parametrize("unroll", [True, False])
def test_blocks_may_differ_in_steps(unroll, tmp_path):
    """As the stages of a residual net do, and graphs for a tolerance."""
    net = manifest(net_of(), "rk4", [3, 1], unroll=unroll)
    output = np.array(net(images()))
    np.testing.assert_allclose(with_own_norms(net)(images()), output, atol=1e-5)
    twin = recalibrated(net, [images()])
    assert members_of(twin) == ("rk4:3,1",)
    expected = twin(images(), training=True)
    np.testing.assert_allclose(twin(images()), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(net(images()), output)
    twin.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(images()), twin(images()))


def test_a_net_that_is_built_as_its_own_member_reads_its_own_norms():
    assert member_read(net_of(members=("euler:1", "midpoint:2"))) == "midpoint:2"
    assert member_read(net_of(members=("euler:1",))) is None


def test_norms_that_a_member_shares_are_where_its_own_start():
    """As in the matrix, which scores a member by the norms of the net, too."""
    net = with_members(net_of(), ["euler:1"])
    randomize(net)
    blocks = blocks_of(net)
    form = {"scheme": "euler", "steps": 1}
    shared = with_blocks(net, blocks, lambda b, i: b.manifested(**form), share=True)
    twin = with_own_norms(shared)
    np.testing.assert_allclose(twin(images()), shared(images()), atol=1e-5)
    assert np.abs(manifest(net, "euler", 1)(images()) - twin(images())).max() > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_other_blocks(net_of()),
        lambda: around(layers.BatchNormalization(axis=1)),
        lambda: around(Opaque()),
        lambda: ResNet(3, 1, (4,), input_shape=IMAGE),
    ],
    ids=["blocks that differ", "another axis", "opaque", "no blocks"],
)
def test_nets_without_a_member_to_be_are_copied(make):
    net = make()
    before, output = values(net), np.array(net(images()))
    twin = recalibrated(net, [images(seed=1)])
    assert not members_of(twin)
    for old, new in zip(before, values(net), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(net(images()), output)
    assert not {id(v) for v in net.variables} & {id(v) for v in twin.variables}


@pytest.mark.slow
def test_it_can_be_saved_folded_and_made_plain(tmp_path):
    twin = recalibrated(manifest(net_of(), "rk4", 1), [images()])
    expected = twin(images())
    twin.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(images()), expected)
    for other in (fold(twin), to_plain(twin)):
        np.testing.assert_allclose(other(images()), expected, rtol=1e-4, atol=1e-4)


def test_data_without_a_batch_are_refused():
    with pytest.raises(ValueError, match="data: expected at least one batch"):
        recalibrated(net_of(), [])
