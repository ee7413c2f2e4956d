"""Residual nets become continuous ones and plain ones again: the same numbers."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from cnet_tf import ContinuousNet, ContinuousTransformer, manifest, project, recalibrate
from cnet_tf.from_residual import from_residual
from cnet_tf.model_graph import layers_of
from cnet_tf.plain_model import to_plain
from cnet_tf.residual_search import residual_stages
from cnet_tf.resnet import ResNet
from cnet_tf.surgery import blocks_of

L = keras.layers
IMAGE = (8, 8, 3)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomize(net):
    """Every weight another, so that a swap of two is seen; variances positive."""
    rng = np.random.default_rng(1)
    for v in net.variables:
        if v.name in ("moving_variance", "gamma"):
            v.assign(rng.uniform(0.5, 1.5, v.shape))
        elif v.name != "kernel":
            v.assign(rng.normal(size=v.shape, scale=0.2))
    return net


def resnet(style="post", **arguments):
    return randomize(
        ResNet(4, 3, (4, 6), style, stem_width=4, input_shape=IMAGE, **arguments)
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_nets_of_every_precision(policy):
    net, x = resnet("wide", dtype=policy), normal(2, *IMAGE)
    continuous = from_residual(net)
    assert {block.dtype_policy.name for block in blocks_of(continuous)} == {policy}
    for one in (continuous, to_plain(continuous)):
        np.testing.assert_array_equal(np.array(one(x)), np.array(net(x)))


@pytest.mark.parametrize("style", ["post", "he"])
def test_a_residual_net_and_back_bit_for_bit(style):
    net, x = resnet(style), normal(2, *IMAGE)
    continuous = from_residual(net)
    found = [(b.nodes, b.steps, b.horizon, b.scheme) for b in blocks_of(continuous)]
    assert found == [(3, 3, 3, "euler"), (2, 2, 2, "euler")]
    # He's units have their ReLU inside, x + (y - x): up to rounding.
    close = {"rtol": 0, "atol": 1e-6 if style == "he" else 0}
    np.testing.assert_allclose(continuous(x), net(x), **close)
    plain = to_plain(continuous)
    assert not blocks_of(plain)
    np.testing.assert_array_equal(plain(x), continuous(x))
    for old, new in ((net, continuous), (net, plain)):
        assert old.count_params() == new.count_params()
    # A step of training leaves the same statistics.
    before = continuous(x, training=True), net(x, training=True)
    np.testing.assert_allclose(*before, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(continuous(x), net(x), rtol=1e-5, atol=1e-5)


def unit_model(width=4, activation=None, operator=False, name=None):
    x = keras.Input((None, None, width))
    y = L.Conv2D(width, 3, padding="same")(x)
    y = L.BatchNormalization()(y)
    y = x + y if operator else L.Add()([y, x])
    return keras.Model(x, activation(y) if activation else y, name=name)


def test_units_in_models_in_models_are_found():
    """Nested models, `x + y`, either order of the summands; the rest keeps its form."""
    stem = keras.Sequential([L.Conv2D(4, 3, padding="same"), L.ReLU()], name="stem")
    body = keras.Sequential([unit_model(operator=True), unit_model(), unit_model()])
    net = keras.Sequential(
        [keras.Input(IMAGE), stem, body, L.GlobalAveragePooling2D(), L.Dense(2)]
    )
    net.get_layer("stem").trainable = False
    continuous = from_residual(randomize(net))
    x = normal(2, *IMAGE)
    np.testing.assert_array_equal(continuous(x), net(x))
    assert [block.nodes for block in blocks_of(continuous)] == [3]
    assert not continuous.get_layer("stem").trainable
    assert len(continuous.trainable_variables) == 4 + 2


def flat(*units, width=4, outputs=lambda states: states[-1]):
    x = keras.Input((6, 6, width))
    states = [x]
    for unit in units:
        states.append(unit(states[-1]))
    return keras.Model(x, outputs(states))


def conv_unit(x, kernel=3, layer=None, **settings):
    layer = layer or L.Conv2D(4, kernel, padding="same", **settings)
    return L.Add()([x, layer(x)])


def test_what_does_not_belong_together_is_told_by_name():
    def names(net):
        survey = residual_stages(net)
        return [len(stage.units) for stage in survey.stages], survey.left

    # Another kernel, another activation, a frozen layer: other structures.
    for other in ({"kernel": 5}, {"activation": "relu"}, {"trainable": False}):
        parts = [conv_unit] * 2 + [lambda x, s=other: conv_unit(x, **s)] + [conv_unit]
        lengths, left = names(flat(*parts))
        assert lengths == [2] and len(left) == 2, other
        assert set(left.values()) == {
            "1 in a row, without another of the same structure"
        }
    # A state that is read elsewhere has to be there: the chain ends at it.
    lengths, _ = names(flat(*[conv_unit] * 4, outputs=lambda s: [s[2], s[-1]]))
    assert lengths == [2, 2]
    shared = L.Conv2D(4, 3, padding="same")
    _, left = names(flat(*[lambda x: conv_unit(x, layer=shared)] * 2))
    assert all("is shared with another part" in why for why in left.values())
    with pytest.raises(
        ValueError, match="expected at least 2 residual units .* shared"
    ):
        from_residual(flat(*[lambda x: conv_unit(x, layer=shared)] * 2))
    projected = lambda x: L.Add()([L.Conv2D(4, 1)(x), L.Conv2D(4, 1)(x)])  # noqa: E731
    _, left = names(flat(projected, projected))
    assert all(
        "neither of which is the input of the other" in why for why in left.values()
    )
    with pytest.raises(ValueError, match="no sums of tensors"):
        from_residual(keras.Sequential([keras.Input((3,)), L.Dense(2)]))


def test_the_activation_behind_the_last_sum_stays_outside():
    """A pre-activation tail is no part of the last unit."""
    net = flat(conv_unit, conv_unit, conv_unit, lambda x: L.ReLU(name="tail")(x))
    (stage,) = residual_stages(net).stages
    assert len(stage.units) == 3 and not stage.activated
    assert [layer.name for layer in from_residual(net).layers][-1] == "tail"


@pytest.mark.slow
def test_published_application_with_inverted_residuals():
    net = randomize(
        keras.applications.MobileNetV2(
            (32, 32, 3), 0.35, weights=None, classes=3, classifier_activation=None
        )
    )
    continuous = from_residual(net)
    assert [block.nodes for block in blocks_of(continuous)] == [2, 3, 2, 2]
    x = normal(1, 32, 32, 3)
    np.testing.assert_array_equal(continuous(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, nodes", [("ResNet50V2", [2, 4, 2]), ("ResNet50", [2, 3, 5, 2])]
)
def test_published_applications_with_bottlenecks(name, nodes):
    make = getattr(keras.applications, name)
    net = make(weights=None, input_shape=(32, 32, 3), classifier_activation=None)
    continuous = from_residual(randomize(net))
    assert [block.nodes for block in blocks_of(continuous)] == nodes
    x = normal(1, 32, 32, 3)
    np.testing.assert_allclose(continuous(x), net(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(to_plain(continuous)(x), continuous(x))


@pytest.mark.slow
def test_smoothed_nets_are_nets():
    """Hats, polynomials and fewer pieces of what was three units, recalibrated."""
    net, x = from_residual(resnet()), normal(16, *IMAGE)
    for change in ({"basis": "hat", "nodes": 2}, {"basis": "legendre"}, {"nodes": 1}):
        small = project(net, steps=[block.steps for block in blocks_of(net)], **change)
        recalibrate(small, [x])
        logits = small(x)
        assert np.all(np.isfinite(logits)), change
        np.testing.assert_allclose(to_plain(small)(x), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scheme": "rk4", "unit": "pre", "steps": 1},
        {"scheme": "kutta3", "basis": "hat", "nodes": 3, "unit": "skip_init"},
        {"scheme": "midpoint", "unit": "stateful", "dtype": "mixed_bfloat16"},
    ],
    ids=str,
)
def test_any_manifestation_is_a_plain_model(arguments, tmp_path):
    arguments = {"nodes": 2, "strides": 1, "input_shape": IMAGE, **arguments}
    net, x = randomize(ContinuousNet(3, (4,), **arguments)), normal(2, *IMAGE)
    plain = to_plain(net)
    np.testing.assert_allclose(plain(x), net(x), rtol=1e-6, atol=1e-6)
    assert all(type(part).__module__.startswith("keras") for part in layers_of(plain))
    assert "cnet_tf" not in json.dumps(plain.get_config())
    plain.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(again(x), plain(x))
    assert not blocks_of(manifest(net, steps=3)) == []  # The net is as it was.


def test_plain_transformers_and_what_they_refuse():
    sizes = {"width": 8, "heads": 2, "scheme": "midpoint"}
    net = ContinuousTransformer(3, patch=4, input_shape=IMAGE, **sizes)
    x = normal(2, *IMAGE)
    np.testing.assert_allclose(to_plain(net)(x), net(x), rtol=1e-5, atol=1e-6)
    tokens = {"vocabulary": 5, "mask_zero": True, "input_shape": (4,)}
    with pytest.raises(ValueError, match="expected no mask in front of 'position'"):
        to_plain(ContinuousTransformer(3, **sizes, **tokens))


@pytest.mark.slow
def test_a_plain_file_loads_without_this_package(tmp_path):
    net, x = ContinuousNet(3, (4,), strides=1, input_shape=IMAGE), normal(2, *IMAGE)
    to_plain(net).save(tmp_path / "plain.keras")
    np.save(tmp_path / "x.npy", x)
    program = (
        "import keras, numpy as np, sys\n"
        "np.save('y.npy', keras.saving.load_model('plain.keras')(np.load('x.npy')))\n"
        "assert not any(name.startswith('cnet_tf') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), net(x), atol=1e-6)
