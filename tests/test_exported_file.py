"""A .keras file is read in safe mode, or refused in a line that names the remedy."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers, ops

import cnet_tf
from export.keras_file import class_names, per_channel, read_model
from trainers.errors import OptionError


def classifier(*more, shape=(4, 4, 1), **settings):
    unit = keras.Sequential([layers.Conv2D(2, 3, padding="same"), layers.ReLU()])
    return keras.Sequential(
        [
            keras.Input(shape, **settings),
            layers.Conv2D(2, 3, padding="same"),
            cnet_tf.ContinuousBlock(unit, nodes=2, scheme="midpoint"),
            *more,
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


@pytest.fixture
def saved(tmp_path):
    def save(model):
        path = tmp_path / "my.keras"
        model.save(path)
        return path

    return save


def refusal(path) -> str:
    with pytest.raises(OptionError) as caught:
        read_model(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("--model: expected ")
    return message


def test_a_model_with_a_block_comes_back(saved):
    model = classifier()
    model.compile("adam", loss=lambda truth, found: ops.mean(found))
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
    found = read_model(saved(model))
    np.testing.assert_array_equal(found(images), model(images))
    (block,) = [x for x in found.layers if isinstance(x, cnet_tf.ContinuousBlock)]
    assert block.scheme == "midpoint" and not found.compiled


def test_a_functional_graph_of_operations_comes_back(saved):
    image = keras.Input((4, 4, 1))
    pooled = ops.mean(ops.relu(image), axis=(1, 2))
    model = keras.Model(image, layers.Dense(3)(pooled))
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
    np.testing.assert_array_equal(read_model(saved(model))(images), model(images))


def test_a_missing_file(tmp_path):
    assert "no.keras', which does not exist" in refusal(tmp_path / "no.keras")


@pytest.mark.parametrize("content", ["text", "zip", "list", "folder"])
def test_what_is_no_keras_file(tmp_path, content):
    path = tmp_path / "my.keras"
    if content == "text":
        path.write_text("no archive")
    elif content == "folder":
        path.mkdir()
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "[]")
            if content == "list":
                archive.writestr("model.weights.h5", "")
    message = refusal(path)
    assert message.startswith("--model: expected a .keras file. Received '")
    assert message.endswith(": save it with model.save('my.keras').")


def test_damaged_weights(saved):
    path = saved(classifier())
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"damaged")
    assert "a .keras file that Keras can read. Received" in refusal(path)


def test_lambda_layers_are_named(saved):
    path = saved(classifier(layers.Lambda(lambda x: 2 * x, name="double")))
    message = refusal(path)
    assert "Lambda 'double': write that part with layers of Keras" in message


@keras.saving.register_keras_serializable("mine")
class Doubled(layers.Layer):
    """A layer of a user, registered here, but where would an export find it?"""

    def call(self, x):
        return 2 * x


def swish(x):
    return x * ops.sigmoid(x)


@pytest.mark.parametrize(
    "layer, name",
    [
        (lambda: Doubled(name="twice"), "Doubled 'twice'"),
        (lambda: layers.Activation(swish), "function 'swish'"),
    ],
)
def test_foreign_classes_are_named(saved, layer, name):
    message = refusal(saved(classifier(layer())))
    assert f"Received {name}: write that part" in message


@pytest.mark.parametrize(
    "change",
    [
        {"registered_name": "cnet_tf>System"},
        {"module": "os"},
        {"module": None},
        {"class_name": ["ContinuousBlock"], "module": 7},
    ],
)
def test_an_edited_class_is_refused_before_anything_is_built(
    saved, monkeypatch, change
):
    path = saved(classifier())
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    (block,) = (x for x in config["config"]["layers"] if "Block" in x["class_name"])
    block.update(change)
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    monkeypatch.setattr(keras.saving, "load_model", None)
    assert "ContinuousBlock" in refusal(path)


@keras.saving.register_keras_serializable("cnet_tf")
class Subclassed(keras.Model):
    """Registered as one of ours, so that only its kind is wrong."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.head = layers.Dense(3)

    def call(self, x):
        return self.head(x)


def test_a_subclassed_model(saved, monkeypatch):
    monkeypatch.setattr(Subclassed, "__module__", "cnet_tf.test")
    model = Subclassed(name="own")
    model(np.zeros((1, 4)))
    message = refusal(saved(model))
    assert message.startswith("--model: expected a functional or Sequential model")
    assert "a Subclassed: write it as a functional model" in message


def test_a_model_that_has_not_seen_an_input(saved):
    assert "expected a built model" in refusal(saved(keras.Sequential([layers.ReLU()])))


def _two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], layers.Dense(3)(a + b))


def _two_outputs():
    a = keras.Input((4,))
    return keras.Model(a, [layers.Dense(3)(a), layers.Dense(2)(a)])


def _of_type(dtype):
    image = keras.Input((4, 4, 1), dtype=dtype, name="image")
    x = layers.Rescaling(1 / 255, dtype="float32")(image)
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_an_input_of_other_floats_takes_float32(saved, dtype):
    """Keras casts images to the type of an input, without a word."""
    model = read_model(saved(_of_type(dtype)))
    assert model.inputs[0].dtype == "float32"
    image = np.full((1, 4, 4, 1), 1.0009765, "float32")  # No number of float16.
    assert np.abs(model(image) - model(np.ones_like(image))).max() > 0


@pytest.mark.parametrize(
    "make, message",
    [
        (_two_inputs, r"one input. Received 'a' of shape (None, 4), 'b' of shape"),
        (lambda: classifier(shape=(None, None, 1)), "(None, None, None, 1): fix it"),
        (lambda: classifier(batch_size=2), "a free batch size. Received"),
        (
            lambda: keras.Sequential(
                [keras.Input((4,)), layers.Dense(3, "softmax", name="last")]
            ),
            "a model of logits. Received 'sequential",
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((4,)),
                    keras.Sequential([layers.Dense(3), layers.Activation("sigmoid")]),
                ]
            ),
            "applies a softmax or sigmoid",
        ),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(1)]),
            "logits of at least two classes",
        ),
        (lambda: _of_type("uint8"), "an input of floats. Received 'image' of shape"),
        (lambda: _of_type("bool"), "and type bool: build it on a keras.Input of floa"),
        (_two_outputs, "expected one output of shape (batch, classes). Received"),
        (
            lambda: keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(3, 1)]),
            "of shape (None, 4, 4, 3): end it with a Dense layer",
        ),
    ],
)
def test_shapes_that_cannot_be_exported(saved, make, message):
    assert message in refusal(saved(make()))


def test_class_names(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("cat\nkäse\n\ndog\n", encoding="utf-8")
    assert class_names(str(path), 3) == ["cat", "käse", "dog"]
    assert class_names("a, b,c", 3) == ["a", "b", "c"]
    assert class_names(None, 3) == ["0", "1", "2"]
    with pytest.raises(
        OptionError, match="--labels: expected 4 different .*Received 3"
    ):
        class_names("a,b,c", 4)
    with pytest.raises(
        OptionError, match="--labels: expected 3 different .*Received 2"
    ):
        class_names("a,b,a", 3)
    path.write_bytes("\ufeffcat\r\ndog\r\n".encode())  # Of Windows' editor.
    assert class_names(str(path), 2) == ["cat", "dog"]
    many = [f"class {i}" for i in range(1000)]  # No path is so long.
    assert class_names(",".join(many), 1000) == many
    with pytest.raises(OptionError, match="--labels: .*at most 255 .* Received 'xxx"):
        class_names(f"a,b,{'x' * 256}", 3)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(OptionError, match="--labels: expected a text file in UTF-8"):
        class_names(str(path), 3)


def test_numbers_per_channel():
    assert per_channel("mean", (0.5,), 3) == [0.5, 0.5, 0.5]
    assert per_channel("std", (0.1, 0.2, 0.3), 3) == [0.1, 0.2, 0.3]
    with pytest.raises(
        OptionError, match="--std: expected one number, or 2, one per ch"
    ):
        per_channel("std", (0.1, 0.2, 0.3), 2)
