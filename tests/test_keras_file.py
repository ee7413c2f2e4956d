"""Models of users on disk: read, or refused in a line."""

import json
import zipfile

import keras
import numpy as np
import pytest

from cnet_tf import keras_file
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.keras_file import KerasFileError

L = keras.layers


def model(*extra):
    unit = keras.Sequential([L.Dense(4, "tanh"), L.Dense(4)])
    layers = [keras.Input((4,)), ContinuousBlock(unit, nodes=2), *extra, L.Dense(3)]
    return keras.Sequential(layers)


def test_a_model_comes_back(tmp_path):
    net = model()
    net.compile("adam", "mse")
    net.save(tmp_path / "my.keras")
    found = keras_file.read(tmp_path / "my.keras")
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(found(x), net(x))


@keras.saving.register_keras_serializable("elsewhere")
class Foreign(L.Layer):
    def call(self, x):
        return x


@keras.saving.register_keras_serializable("elsewhere")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(x)


def refused(path, match):
    with pytest.raises(KerasFileError, match=match) as error:
        keras_file.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "name"),
    [(L.Lambda(lambda x: x), "Lambda"), (Foreign(), "Foreign")],
)
def test_layers_that_run_code_of_their_own_are_refused(tmp_path, layer, name):
    model(layer).save(tmp_path / "my.keras")
    refused(tmp_path / "my.keras", f"expected layers of Keras and cnet_tf.*{name}")


def test_a_subclassed_model_is_refused(tmp_path):
    net = Subclassed()
    net(np.ones((1, 4)))
    net.save(tmp_path / "my.keras")
    refused(tmp_path / "my.keras", "Subclassed.*with layers of Keras")


def test_a_model_without_input_shape_is_refused(tmp_path):
    keras.Sequential([L.Dense(3)]).save(tmp_path / "my.keras")
    refused(tmp_path / "my.keras", "expected a built model.*keras.Input")


def test_what_is_no_keras_file_is_refused(tmp_path):
    path = tmp_path / "my.keras"
    refused(path, "does not exist")
    refused(tmp_path, "save it with")
    path.write_bytes(b"")
    refused(path, "save it with model.save")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello", "")
    refused(path, "save it with model.save")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{")
    refused(path, "my.keras")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential"}))
    refused(path, "my.keras")


def test_a_file_cut_short_is_refused(tmp_path):
    model().save(tmp_path / "my.keras")
    content = (tmp_path / "my.keras").read_bytes()
    (tmp_path / "my.keras").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "my.keras", "save it with model.save")
