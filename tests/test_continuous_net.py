"""Whole nets: parameter counts, shapes, saving, names, errors."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow_cases import fast
from stitches import stitches

from cnet_tf.architecture import described
from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.manifestation import manifest
from cnet_tf.refinement import project, refine
from cnet_tf.residual_unit import UNITS
from cnet_tf.resnet import STYLES, ResNet
from cnet_tf.surgery import blocks_of

SMALL = {
    "widths": (4, 8),
    "strides": (1, 2),
    "nodes": 2,
    "scheme": "midpoint",
    "input_shape": (8, 8, 3),
}


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def small(**arguments):
    return ContinuousNet(3, **{**SMALL, **arguments})


def resnet(**arguments):
    shape = SMALL["input_shape"]
    return ResNet(3, 1, (4, 8), stem_width=4, input_shape=shape, **arguments)


# One small net of every builder and unit style.
NETS = {
    **{f"ContinuousNet-{u}": functools.partial(small, unit=u) for u in UNITS},
    "ContinuousNet-hat": lambda: small(basis="hat", nodes=(2, 3)),
    "ContinuousNet-same": lambda: small(padding="same", stitch=(0.5, 2.0)),
    **{f"ResNet-{s}": functools.partial(resnet, style=s) for s in STYLES},
    "ContinuousClassifier": lambda: ContinuousClassifier(
        3, width=4, basis="legendre", nodes=3
    ),
}


def randomize(net, seed=1):
    rng = np.random.default_rng(seed)
    for v in net.variables:
        value = rng.normal(size=v.shape, scale=0.3)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)


def test_the_default_stitch_is_that_of_a_residual_unit_and_stays():
    """eps / K of every block; neither steps nor refinement change it."""
    net = ContinuousNet(3, (4, 8), nodes=(1, 4), strides=(1, 2), horizon=2, steps=8)
    expected = [2.0, 0.5]
    for twin in (net, manifest(net, "euler", 3), refine(net), project(net, nodes=1)):
        assert stitches(twin) == expected
        assert {block.horizon for block in blocks_of(twin)} == {2}
    assert stitches(ContinuousNet(3, (4,), strides=1, stitch=3)) == [3]


def test_the_stateful_skip_is_the_identity_where_the_shape_stays():
    def skips(**arguments):
        net = ContinuousNet(3, (4, 4, 8), unit="stateful", **arguments)
        transitions = [net.get_layer(f"transition_{i}") for i in range(3)]
        return [
            [x.name for part in t.layers if part.name == "skip" for x in part.layers]
            for t in transitions
        ]

    projection = ["conv", "norm"]
    assert skips() == [[], projection, projection]
    assert skips(strides=1) == [[], [], projection]
    assert skips(stem_width=3)[0] == projection


@pytest.mark.parametrize("unit", UNITS)
def test_parameter_counts_by_hand(unit):
    """Width a, K nodes, one stage, c classes; k = 9 a^2 + a is a convolution."""
    a, k_nodes, c = 4, 3, 5
    style = UNITS[unit]
    net = ContinuousNet(c, (a,), nodes=k_nodes, strides=1, unit=unit)
    conv, norm = 9 * a * a + style.use_bias * a, 2 * a
    norms = {"post": (1, 2), "skip_init": (1, 0)}.get(unit, (2, 2))
    stem = 9 * 3 * a + norm
    skip = 0 if style.keeps_shape else a * a
    transition = skip + 2 * conv + norms[0] * norm
    block = k_nodes * (2 * conv + norms[1] * norm + (unit == "skip_init"))
    expected = stem + transition + block + ("norm" in style.tail) * norm + a * c + c
    assert sum(int(np.prod(v.shape)) for v in net.trainable_variables) == expected


@pytest.mark.parametrize("name", NETS)
def test_gradients_reach_every_parameter(name):
    net = NETS[name]()
    shape = net.input_shape[1:]
    randomize(net)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(normal((4, *shape)), training=True) ** 2)
    variables = net.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    pairs = zip(variables, gradients, strict=True)
    assert not [v.path for v, g in pairs if g is None or not np.any(g)]


@pytest.mark.parametrize("channels", [1, 3])
def test_any_input_size(channels):
    net = small(input_shape=(None, None, channels))
    for height, width in ((8, 8), (7, 12), (5, 5)):
        y = net(normal((2, height, width, channels)))
        assert y.shape == (2, 3)
        assert np.all(np.isfinite(y))
    assert net.compute_output_shape((None, 9, 9, channels)) == (None, 3)


def test_sequences_per_block():
    net = ContinuousNet(3, (4, 8), nodes=(1, 2), steps=(3, 4), strides=(2, 1))
    blocks = blocks_of(net)
    assert [b.nodes for b in blocks] == [1, 2]
    assert [b.steps for b in blocks] == [3, 4]
    assert [b.name for b in blocks] == ["block_0", "block_1"]
    deep = ContinuousNet(3, (4,), nodes=5, strides=1)
    assert [b.steps for b in blocks_of(deep)] == [5]


@pytest.mark.parametrize(
    "name", fast(NETS, "ContinuousNet-pre", "ContinuousNet-hat", "ContinuousClassifier")
)
def test_keras_file_is_bit_equal(name, tmp_path):
    net = NETS[name]()
    shape = net.input_shape[1:]
    randomize(net)
    x = normal((3, *shape))
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert json.dumps(described(loaded)) == json.dumps(described(net))
    np.testing.assert_array_equal(loaded(x), net(x))
    for mine, other in zip(net.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())


@pytest.mark.parametrize(
    "name", fast(NETS, "ContinuousNet-pre", "ResNet-post", "ContinuousClassifier")
)
def test_copies_without_a_file(name):
    net = NETS[name]()
    x = normal((3, *net.input_shape[1:]))
    for twin in (
        type(net).from_config(net.get_config()),
        keras.models.clone_model(net),
    ):
        twin.set_weights(net.get_weights())
        np.testing.assert_array_equal(twin(x), net(x))


def test_layers_are_found_by_name():
    net = small(unit="pre")
    lines = []
    net.summary(expand_nested=True, print_fn=lines.append)
    text = "\n".join(lines)
    for name in ("stem", "transition_0", "block_0", "block_1", "tail", "head"):
        assert name in text
    assert "conv_1" in text
    features = keras.Model(net.input, net.get_layer("block_1").output)
    assert features(normal((2, 8, 8, 3))).shape == (2, 4, 4, 8)


def test_a_unit_may_be_any_model():
    def unit(width):
        layers = [keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")]
        return keras.Sequential([*layers, keras.layers.Conv2D(width, 1, name="mix")])

    net = small(unit=unit)
    names = [layer.name for layer in blocks_of(net)[1].rate.layers]
    assert names == ["depthwise", "mix"]
    assert refine(net)(normal((2, 8, 8, 3))).shape == (2, 3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_policies(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        net = NETS[name]()
    finally:
        keras.config.set_dtype_policy("float32")
    # Weights and logits; the layers between them may compute in less.
    wide = "float64" if policy == "float64" else "float32"
    for training in (False, True):
        y = net(normal((4, *net.input_shape[1:])), training=training)
        assert y.dtype == wide
        assert np.all(np.isfinite(y))
    assert {v.dtype for v in net.variables} == {wide}
    narrow = "float64" if policy == "float64" else "bfloat16"
    assert {b.compute_dtype for b in blocks_of(net)} <= {narrow}
    assert {part.compute_dtype for b in blocks_of(net) for part in b.rate.layers} <= {
        narrow
    }


@pytest.mark.parametrize("where", ["argument", "file"])
def test_the_policy_of_a_net_is_that_of_its_parts(where, tmp_path):
    if where == "argument":
        net = small(dtype="mixed_bfloat16")
    else:
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            net = small()
        finally:
            keras.config.set_dtype_policy("float32")
        net.save(tmp_path / "net.keras")
        x = normal((2, 8, 8, 3))
        loaded = keras.models.load_model(tmp_path / "net.keras")
        np.testing.assert_array_equal(loaded(x), net(x))
        net = loaded
    assert blocks_of(net)[0].rate.layers[0].compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "bottleneck"}, "unit: expected one of post, pre.*'bottleneck'"),
        ({"nodes": (1, 2, 3)}, "nodes: expected a number or 2 of them"),
        ({"steps": (1,)}, "steps: expected a number or 2 of them"),
        ({"strides": (1, 2, 2)}, "strides: expected a number or 2 of them"),
        ({"scheme": "rk5"}, "scheme: expected one of"),
        ({"basis": "fourier"}, "basis: expected one of"),
        ({"basis": "hat", "nodes": 1}, "nodes: basis 'hat' needs at least 2"),
        ({"steps": 0}, "steps: expected an integer >= 1"),
        ({"restriction": "nearest"}, "restriction: expected one of"),
        ({"padding": "valid"}, "padding: expected one of same, symmetric.*'valid'"),
        ({"stitch": (1.0,)}, "stitch: expected a number or 2 of them"),
    ],
)
def test_net_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ContinuousNet(3, **{**SMALL, **arguments})


def test_resnet_refuses_unknown_styles():
    with pytest.raises(ValueError, match="style: expected one of post, he.*'deep'"):
        ResNet(3, style="deep")


@pytest.mark.parametrize("channels", [2, 4])
def test_another_channel_count_is_refused(channels):
    """As Keras' own convolutions do: no broadcast over a channel."""
    net = small(input_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="incompatible|expected"):
        net(normal((2, 8, 8, channels)))
