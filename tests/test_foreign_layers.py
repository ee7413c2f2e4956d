"""Exports of models whose layers our own nets do not have."""

import keras
import numpy as np
import onnx
import pytest
from keras.initializers import Constant

from cnet_tf.image_ends import gives_probabilities, takes_pixels
from cnet_tf.surgery import copied
from export import graph_cost, keras_file, onnx_file, parity, runtimes
from export.folding import fold
from export.formats import onnx_graph
from trainers.errors import OptionError
from trainers.flops import forward_flops

layers = keras.layers


def chain(*parts, shape=(6, 6, 4)):
    return keras.Sequential([keras.Input(shape), *parts])


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (
            chain(
                layers.Conv2D(6, 3, groups=2, padding="same"),
                layers.Conv2D(2, 1),
                layers.Flatten(),
            ),
            6 * 6 * 6 * (3 * 3 * 2) + 6 * 6 * 2 * 6,
        ),
        (
            chain(
                layers.Reshape((6, 6, 2, 2)),
                layers.Conv3D(5, (3, 3, 1), padding="same"),
                layers.Flatten(),
            ),
            6 * 6 * 2 * 5 * (3 * 3 * 1 * 2),
        ),
        (chain(layers.Reshape((6, 24)), layers.LSTM(3)), None),
    ],
    ids=["groups", "volume", "loop"],
)
def test_multiply_adds_of_other_layers(net, expected):
    assert graph_cost.macs(net, (6, 6, 4)) == expected


def test_convolutions_in_groups_are_convolutions_of_onnx(tmp_path):
    net = chain(layers.Conv2D(6, 3, groups=2), layers.Flatten(), layers.Dense(2))
    graph = onnx_graph.convert(net, {"image_shape": [6, 6, 4]}, "normalized")
    onnx.save(graph, tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 4)).astype("float32")
    found = runtimes.onnx(tmp_path / "net.onnx")["serving_default"](images)["logits"]
    np.testing.assert_allclose(found, net(images), atol=1e-5)
    assert forward_flops(net, (6, 6, 4)) > 2 * 4 * 4 * 6 * (3 * 3 * 2)


@pytest.mark.parametrize("kind", [layers.GRU, layers.SimpleRNN, layers.LSTM])
def test_loops_keep_what_their_bodies_read(kind, tmp_path):
    net = chain(layers.Reshape((6, 24)), kind(3), layers.Dense(2))

    data = {"image_shape": [6, 6, 4]}
    model = onnx_file.in_fixed_order(onnx_graph.convert(net, data, "normalized"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 4)).astype("float32")
    found = runtimes.onnx(tmp_path / "net.onnx")["serving_default"](images)["logits"]
    np.testing.assert_allclose(found, net(images), atol=1e-5)


@pytest.mark.parametrize(
    "scale", [2.0, [1.0, 2.0, 3.0, 4.0], [[[2.0, 3.0, 4.0, 1.0]]], np.ones((6, 6, 1))]
)
def test_rescaling_of_any_shape_is_folded_or_left(scale):
    net = chain(layers.Rescaling(scale), layers.Conv2D(2, 3), layers.Flatten())
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    np.testing.assert_allclose(fold(net)(images), net(images), atol=1e-5)


def ends(*parts):
    return chain(layers.Flatten(), layers.Dense(4, "softmax"), *parts)


def ensemble(*activations):
    inputs = keras.Input((3,))
    parts = [layers.Dense(4, activation)(inputs) for activation in activations]
    return keras.Model(inputs, layers.Average()(parts) if parts[1:] else parts[0])


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (ends(), True),
        (ends(layers.Activation("linear", dtype="float32")), True),
        (ends(layers.Dropout(0.1), layers.Reshape((4,)), layers.Identity()), True),
        (ends(layers.Dense(3)), False),
        (ends(layers.Activation("relu")), False),
        (ensemble("softmax", "sigmoid"), True),
        (ensemble("softmax", None), False),
        (ensemble("hard_sigmoid"), True),
        (ensemble("hard_sigmoid", "softmax"), True),
        (keras.Sequential([keras.Input((6, 6, 4)), ends()]), True),
    ],
)
def test_probabilities_are_found_behind_layers_that_hand_them_on(model, found):
    assert gives_probabilities(model) == found


def test_answers_that_are_probabilities_are_refused():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    parity.check_usable("euler:1", logits)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with pytest.raises(OptionError, match="expected logits. Received euler:1"):
        parity.check_usable("euler:1", shares)


def test_a_model_with_a_name_for_its_output_is_one_of_one_output(tmp_path):
    inputs = keras.Input((6, 6, 4))
    y = layers.Dense(2)(layers.Flatten()(inputs))
    keras.Model({"image": inputs}, {"logits": y}).save(tmp_path / "my.keras")
    model = keras_file.read_model(tmp_path / "my.keras")
    assert tuple(model(np.ones((1, 6, 6, 4), "float32")).shape) == (1, 2)


def test_to_ask_what_a_model_takes_changes_nothing():
    inputs = keras.Input((None, None, 3))
    norm = layers.BatchNormalization()
    x = layers.Conv2D(2, 1)(norm(inputs, training=True))
    assert not takes_pixels(keras.Model(inputs, x))
    np.testing.assert_array_equal(norm.moving_variance, np.ones(3))
    cropped = layers.Conv2D(2, 1)(layers.Cropping2D(20)(inputs))
    assert not takes_pixels(keras.Model(inputs, cropped))  # Of 32 pixels nothing.


def test_activations_with_weights_are_refused(tmp_path):
    net = chain(
        layers.Flatten(), layers.Dense(3, activation=layers.PReLU()), layers.Dense(2)
    )
    net(np.ones((1, 6, 6, 4), "float32"))
    net.save(tmp_path / "my.keras")
    with pytest.raises(OptionError, match="functions as activations. Received 'dense"):
        keras_file.read_model(tmp_path / "my.keras")


@pytest.mark.parametrize(
    ("first", "std", "told"),
    [
        (layers.Rescaling(1 / 255), (), True),
        (layers.Rescaling(1 / 255), (1 / 255,), False),
        (layers.Rescaling(2.0, offset=-1.0), (), False),
        (layers.Normalization(mean=[120.0] * 3, variance=[900.0] * 3), (), True),
        (layers.Normalization(mean=[0.5] * 3, variance=[0.1] * 3), (), False),
        (layers.Conv2D(3, 1), (), False),
        (lambda x: x / 255.0, (), True),
        (lambda x: x / 127.5 - 1.0, (), True),
        (lambda x: (x - 120.0) / 60.0, (), True),
        (lambda x: x * (2 / 255) - 1.0, (), True),
        (lambda x: (x - 0.5) / 0.25, (), False),
        (keras.applications.mobilenet_v2.preprocess_input, (), True),
        (keras.applications.resnet.preprocess_input, (), True),
        (lambda x: layers.Rescaling(1 / 255)(layers.RandomFlip()(x)), (), True),
        (
            keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(3, 1)]),
            (),
            True,
        ),
        (keras.Sequential([layers.Rescaling(1 / 255)]), (), True),
        (layers.Rescaling(0.05), (), False),
        (layers.BatchNormalization(gamma_initializer=Constant(0.05)), (), False),
        (layers.Normalization(mean=[0.5] * 3, variance=[0.005] * 3), (), False),
        (
            lambda x: layers.Concatenate()([x, 10 * keras.ops.ones_like(x)]),
            (),
            False,
        ),
        (
            lambda x: layers.Add()(
                [
                    layers.Conv2D(3, 1)(x),
                    layers.Dense(3)(
                        0.001 * layers.GlobalAveragePooling2D(keepdims=True)(x)
                    ),
                ]
            ),
            (),
            False,
        ),
    ],
)
@pytest.mark.parametrize("side", [4, None])
def test_a_file_that_takes_pixels_is_pointed_out(
    first, std, told, side, tmp_path, capsys
):
    """However the scaling is written."""
    x = inputs = keras.Input((side, side, 3))
    first = copied(first) if isinstance(first, keras.layers.Layer) else first
    for part in (first, layers.Conv2D(2, 3), layers.GlobalMaxPool2D(), layers.Dense(2)):
        x = part(x)
    net = keras.Model(inputs, x)
    if side is None:
        assert takes_pixels(net) == (told or std == (1 / 255,))
        return
    net.save(tmp_path / "my.keras")
    keras_file.File(tmp_path / "my.keras", std=std).read()
    assert ("note: --std: " in capsys.readouterr().err) == told
