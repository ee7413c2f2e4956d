"""`.keras` files of strangers: nothing of them hangs, hurts or fools."""

import copy
import json
import zipfile

import h5py
import keras
import pytest
from hangs import hangs_are_failures  # noqa: F401, a fixture

from cnet_tf import escaping, keras_file
from cnet_tf.config_check import check
from cnet_tf.keras_file import KerasFileError

L = keras.layers


@pytest.fixture(scope="module")
def keras_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "my.keras"
    keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(2)]).save(path)
    return path


def _edited(path, target, change=None, weights=None):
    """A copy of a .keras file with another config or other weights."""
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        config = json.loads(old.read("config.json"))
        if change:
            change(config)
        new.writestr("config.json", json.dumps(config))
        new.writestr("model.weights.h5", weights or old.read("model.weights.h5"))
    return target


def _dense(config):
    layers = config["config"]["layers"]
    return [x for x in layers if x["class_name"] == "Dense"][0]["config"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("units", 10**10), ("units", 10**6), ("units", True), ("units", float("nan"))],
)
def test_numbers_of_a_keras_file_are_bounded(tmp_path, keras_model, key, value):
    path = _edited(
        keras_model, tmp_path / "x.keras", lambda c: _dense(c).update({key: value})
    )
    with pytest.raises(KerasFileError) as error:
        keras_file.read(path)
    assert escaping.is_plain(str(error.value))


@pytest.mark.parametrize("size", [2**28, 2**30])
def test_weights_that_unpack_to_more_than_a_model_has(tmp_path, keras_model, size):
    path = _edited(keras_model, tmp_path / "x.keras", weights=bytes(size // 4))
    if size > 2**28:
        with h5py.File(tmp_path / "w.h5", "w") as file:  # A shape without a content.
            file.create_dataset("x", (size,), "f4", chunks=(1024,))
        content = (tmp_path / "w.h5").read_bytes()
        path = _edited(keras_model, tmp_path / "x.keras", weights=content)
    with pytest.raises(KerasFileError, match="at most .* bytes"):
        keras_file.read(path)


def test_models_in_models_do_not_multiply_without_end(tmp_path):
    """Ten calls in ten calls in ..: a few lines of JSON, 10^12 evaluations."""
    x = keras.Input((2,))
    model = keras.Model(x, L.Dense(2)(x))
    save = copy.deepcopy(keras.saving.serialize_keras_object(model))
    for depth in range(12):
        inner = {
            **save,
            "name": f"level_{depth}",
            "inbound_nodes": [{"args": [], "kwargs": {}}] * 10,
        }
        save = {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": {"name": f"m{depth}", "layers": [inner]},
        }
    with pytest.raises(ValueError, match="layer evaluations per example"):
        check(save)
