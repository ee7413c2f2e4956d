"""Presets: published parameter counts and settings, overrides, errors."""

import keras
import numpy as np
import pytest
from stitches import stitches

from cnet_tf.any_depth import member_read, members_of
from cnet_tf.model_graph import layers_of
from cnet_tf.presets import PRESETS, continuous_net
from cnet_tf.surgery import blocks_of

# Trainable parameters; the sources are the published nets, a = 16. The post-activation
# ContinuousNets lack the 224 dead parameters of the published code (273,210, 857,850).
# Equal counts do not make equal nets: test_published.py does.
PUBLISHED = {
    "cifar10_2-2-2_euler": 272_986,
    "cifar10_2-2-2_rk4": 272_986,
    "cifar10_2-2-2_pre_rk4": 273_242,
    "cifar10_2-2-2_stateful": 272_506,
    "cifar10_8-8-8_euler": 857_626,
    "cifar10_8-8-8_rk4": 857_626,
    "cifar10_8-8-8_pre_rk4": 857_882,
    "cifar10_8-8-8_stateful": 855_802,
    "cifar100_wide_8-8-8": 13_630_676,
    "resnet20": 272_474,
    "resnet56": 855_770,
    "wrn58-4": 13_631_108,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_parameter_counts(preset):
    net = continuous_net(preset)
    assert net.input_shape == (None, 32, 32, 3)
    count = sum(int(np.prod(v.shape)) for v in net.trainable_variables)
    assert count == PUBLISHED[preset]


def test_every_preset_is_counted_or_ours():
    ours = {"digits", "cifar10_1-1-1_rk4", "resnet20_he", "digits_mobile"}
    ours |= {"cifar10_grown_rk4", "cifar10_any_depth", "cifar10_mobile"}
    ours |= {"cifar10_grown_mobile"}
    ours |= {"digits_transformer", "cifar10_transformer", "sequence_transformer"}
    ours |= {"cifar10_wide_2-2-2_euler", "cifar10_wide_any_depth", "resnet20_wide"}
    assert set(PRESETS) - set(PUBLISHED) == ours


@pytest.mark.parametrize(
    "pair", ["cifar10_2-2-2_euler resnet20", "cifar10_wide_2-2-2_euler resnet20_wide"]
)
def test_baselines_are_as_large_as_the_nets_beside_them(pair):
    ours, baseline = (
        sum(int(np.prod(v.shape)) for v in continuous_net(name).trainable_variables)
        for name in pair.split()
    )
    assert abs(ours / baseline - 1) < 5e-3


# What the parameters do not show: (eps, stitch, padding, unit, momentum of the tail).
SETTINGS = {
    "digits": (1, 1.0, "same", "post", None),
    "cifar10_1-1-1_rk4": (1, 1.0, "symmetric", "post", None),
    "cifar10_2-2-2_euler": (2, 1.0, "symmetric", "post", None),
    "cifar10_2-2-2_rk4": (2, 1.0, "symmetric", "post", None),
    "cifar10_2-2-2_pre_rk4": (2, 1.0, "symmetric", "pre", 0.1),
    "cifar10_2-2-2_stateful": (2, 1.0, "same", "stateful", 0.9),
    "cifar10_8-8-8_euler": (8, 1.0, "symmetric", "post", None),
    "cifar10_8-8-8_rk4": (8, 1.0, "symmetric", "post", None),
    "cifar10_8-8-8_pre_rk4": (8, 1.0, "symmetric", "pre", 0.1),
    "cifar10_8-8-8_stateful": (8, 1.0, "same", "stateful", 0.9),
    "cifar100_wide_8-8-8": (8, 1.0, "symmetric", "pre", 0.1),
    "resnet20": (None, None, "symmetric", "post", None),
    "resnet20_he": (None, None, "symmetric", "he", None),
    "resnet56": (None, None, "symmetric", "post", None),
    "wrn58-4": (None, None, "symmetric", "wide", 0.1),
}


@pytest.mark.parametrize("preset", SETTINGS)
def test_settings_of_the_presets(preset):
    eps, stitch, padding, unit, momentum = SETTINGS[preset]
    net = continuous_net(preset, widths=(4, 4, 4), stem_width=4)
    assert {block.horizon for block in blocks_of(net)} <= {eps}
    if eps is not None:
        assert stitches(net) == [stitch] * 3
    zeros = [x for x in layers_of(net) if isinstance(x, keras.layers.ZeroPadding2D)]
    assert bool(zeros) == (padding == "symmetric")
    preset = PRESETS[preset]
    assert preset.get("unit", preset.get("style", "post")) == unit
    tails = [layer for layer in net.layers if layer.name == "tail"]
    assert [t.layers[0].momentum for t in tails] == ([momentum] if momentum else [])


def test_preset_overrides_and_errors():
    net = continuous_net("digits", classes=4, scheme="midpoint", steps=3)
    assert net.output_shape == (None, 4)
    assert {(b.scheme, b.steps) for b in blocks_of(net)} == {("midpoint", 3)}
    with pytest.raises(ValueError, match="preset: .*Did you mean 'resnet20'"):
        continuous_net("resnet-20")
    with pytest.raises(ValueError, match="nodez"):
        continuous_net("digits", nodez=3)


# Of our own presets, statistics not counted.
OURS = {
    "digits": 44_306,
    "digits_mobile": 22_818,
    "cifar10_mobile": 188_474,
    "digits_transformer": 26_474,
    "cifar10_transformer": 207_946,
    "sequence_transformer": 625_026,
}


@pytest.mark.parametrize("preset", OURS)
def test_parameters_of_our_presets(preset):
    net = continuous_net(preset)
    assert sum(int(np.prod(v.shape)) for v in net.trainable_variables) == OURS[preset]


@pytest.mark.parametrize(
    "preset", [name for name, one in PRESETS.items() if "members" in one]
)
def test_presets_with_members_read_the_norms_of_their_own(preset):
    net = continuous_net(preset)
    first = PRESETS[preset]
    assert members_of(net) == first["members"]
    assert member_read(net) == f"{first['scheme']}:2"
