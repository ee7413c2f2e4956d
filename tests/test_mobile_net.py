"""A mobile net of blocks: MobileNetV2's chain of units is its Euler manifestation."""

import keras
import net_contract as contract
import numpy as np
import pytest

from cnet_tf import ContinuousMobileNet
from cnet_tf.model_graph import pattern_of

L = keras.layers
SHAPE = (8, 8, 3)
X = contract.normal((3, *SHAPE))


def build(**arguments):
    small = {"widths": (4, 6), "strides": (1, 2), "expansion": 2, "stem_width": 5}
    return ContinuousMobileNet(
        3, **{**small, "tail_width": 7, "input_shape": SHAPE, **arguments}
    )


def parameters(classes, widths, times, stem, tail, channels, nodes):
    """Trainable ones: convolutions without biases, two for every channel of a norm."""

    def unit(before, after):
        inner = times * before
        return before * inner + 9 * inner + inner * after + 2 * (2 * inner + after)

    total = 9 * channels * stem + 2 * stem
    for before, width, k in zip((stem, *widths), widths, nodes, strict=False):
        total += unit(before, width) + k * unit(width, width)
    return total + width * tail + 2 * tail + tail * classes + classes


@pytest.mark.parametrize("nodes", [(1, 1), (3, 2)])
def test_number_of_parameters(nodes):
    net = build(nodes=nodes)
    count = sum(np.prod(v.shape) for v in net.trainable_variables)
    assert count == parameters(3, (4, 6), 2, 5, 7, 3, nodes)


def test_the_default_net_is_small():
    net = ContinuousMobileNet(10)
    count = sum(np.prod(v.shape) for v in net.trainable_variables)
    assert count == parameters(10, (16, 32, 64), 6, 16, 128, 3, (2, 2, 2)) == 188_474
    assert net.output.shape == (None, 10)


def filled(layers, prefix, values, k=0):
    """A plain chain of Keras layers with the k-th weights of the net's part."""
    channels = values[f"{prefix}{layers[0].name}/kernel"].shape[-2]
    model = keras.Sequential(layers)
    model.build((None, None, None, channels))
    for layer in layers:
        for v in layer.weights:
            value = values[f"{prefix}{layer.name}/{v.name}"]
            v.assign(value if value.shape == tuple(v.shape) else value[k])
    return model


def norm(name):
    return L.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def convolution(filters, size):
    conv = L.Conv2D(filters, size, padding="same", use_bias=False, name="conv")
    return [conv, norm("norm"), L.ReLU(6.0)]


def inverted_residual(inner, width, stride=1):
    plain = {"padding": "same", "use_bias": False}
    return [
        L.Conv2D(inner, 1, name="expand", **plain),
        norm("expand_norm"),
        L.ReLU(6.0),
        L.DepthwiseConv2D(3, stride, name="depthwise", **plain),
        norm("depthwise_norm"),
        L.ReLU(6.0),
        L.Conv2D(width, 1, name="project", **plain),
        norm("project_norm"),
    ]


@pytest.mark.parametrize("nodes", [1, 3])
def test_euler_is_mobile_net_v2(nodes):
    """N = K, eps = K: x + R(theta_k, x) in every unit, in plain Keras."""
    net = contract.randomize(build(nodes=nodes, scheme="euler", horizon=nodes))
    for v in net.variables:
        if v.name == "gamma":
            v.assign(4 * v)  # So that every relu6 is met on both sides.
    values = {v.path: keras.ops.convert_to_numpy(v) for v in net.variables}
    x = filled(convolution(5, 3), "stem_", values)(X)
    for i, (before, width, stride) in enumerate([(5, 4, 1), (4, 6, 2)]):
        branch = inverted_residual(2 * before, width, stride)
        x = filled(branch, f"transition_{i}_", values)(x)
        for k in range(nodes):
            branch = inverted_residual(2 * width, width)
            x = x + filled(branch, f"block_{i}/rate/", values, k)(x)
    x = filled(convolution(7, 1), "tail_", values)(x)
    expected = np.mean(x, axis=(1, 2)) @ values["head/kernel"] + values["head/bias"]
    np.testing.assert_allclose(net(X), expected, rtol=1e-5, atol=1e-5)


def test_settings_are_one_a_block():
    net = build(nodes=(1, 3), steps=(2, 4), horizon=(1, 3), expansion=(2, 3))
    blocks = [net.get_layer(f"block_{i}") for i in range(2)]
    assert [(b.nodes, b.steps, b.horizon) for b in blocks] == [(1, 2, 1), (3, 4, 3)]
    widths = [pattern_of(b.rate.get_layer("expand")).filters for b in blocks]
    assert widths == [8, 18]


def test_any_image_size():
    net = build(input_shape=(None, None, 3))
    assert net(contract.normal((2, 9, 5, 3))).shape == (2, 3)


def test_refining_keeps_logits():
    contract.refining_keeps_logits(build, X)


def test_manifestations_share_variables():
    contract.manifestations_share_variables(build, X)


def test_files_and_clones_compute_the_same(tmp_path):
    contract.files_and_clones_compute_the_same(build, X, tmp_path)


def test_parts_are_named():
    stages = [f"{part}_{i}" for i in range(2) for part in ("transition", "block")]
    names = ["stem", *stages, "tail", "pool", "head"]
    contract.parts_are_named(build, X, names)
    net = build()
    start = keras.Model(net.input, net.get_layer("block_1").input)  # of transition_1
    assert start(X).shape == (3, 4, 4, 6)


def test_is_drawn(tmp_path):
    contract.is_drawn(build, tmp_path)


def test_gradients_reach_every_weight():
    contract.gradients_reach_every_weight(build, X)


@pytest.mark.slow
def test_learns_alike_from_a_seed():
    x = contract.normal((32, *SHAPE))
    x[16:, :4] += 1
    labels = np.repeat([0, 1], 16)

    def one_block(**arguments):
        return build(widths=(4,), strides=1, scheme="midpoint", **arguments)

    # In any order of the examples: each batch has both classes.
    order = np.argsort(np.arange(32) % 16, kind="stable")
    contract.learns_alike_from_a_seed(one_block, x[order], labels[order], epochs=12)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precision_is_that_of_the_policy(policy):
    contract.precision_is_that_of_the_policy(build, X, policy)


def test_computes_in_double_precision():
    contract.computes_in_double_precision(build, X)


@pytest.mark.slow
def test_tflite_has_all_its_operations():
    contract.tflite_has_all_operations(build, X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": (1, 2, 3)}, r"nodes: expected a number or 2 of them.*\(1, 2, 3\)"),
        ({"steps": (1,)}, r"steps: expected a number or 2 of them.*\(1,\)"),
        ({"expansion": (1,)}, r"expansion: expected a number or 2 of them"),
        ({"expansion": 0}, "expansion: expected an integer >= 1. Received 0"),
        ({"strides": 0}, "strides: expected an integer >= 1. Received 0"),
        ({"widths": (4, 0)}, "widths: expected an integer >= 1. Received 0"),
        ({"widths": ()}, "widths: expected at least one stage. Received none"),
        ({"stem_width": 0}, "stem_width: expected an integer >= 1. Received 0"),
        ({"tail_width": 1.5}, "tail_width: expected an integer >= 1. Received 1.5"),
        ({"input_shape": (8, 8)}, r"input_shape: expected \(height.*\(8, 8\)"),
        ({"scheme": "rk5"}, "scheme: expected one of .*'rk5'"),
        ({"basis": "wave"}, "basis: expected one of .*'wave'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize("classes", [0, 2.5])
def test_refuses_classes(classes):
    with pytest.raises(ValueError, match="classes: expected an integer >= 1"):
        ContinuousMobileNet(classes, widths=(4,), strides=1)
