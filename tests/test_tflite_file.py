import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from export import parity, tflite_conversion, tflite_file

DESCRIPTION = {
    "architecture": "net",
    "data": "letters",
    "labels": ["a", "b", "Größe"],
    "image_shape": [1, 2, 1],
    "input": "normalized",
    "input_text": "floats",
    "normalization": {"mean": [0.5], "std": [0.25]},
    "outputs": ["logits"],
    "steps": [2, 2],
}


class _Net(tf.Module):
    """Some products of an image, more of them in another signature."""

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, "image")])
    def once(self, image):
        return {"logits": tf.tanh(image)}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, "image")])
    def twice(self, image):
        return {"logits": tf.tanh(tf.tanh(image))}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder, net = tmp_path_factory.mktemp("archive"), _Net()
    signatures = {"serving_default": net.once, "twice": net.twice}
    tf.saved_model.save(net, str(folder), signatures)
    return folder


@pytest.fixture(scope="module")
def converted(archive):
    return tflite_conversion.convert(archive, ["serving_default", "twice"])


@pytest.fixture
def path(converted, tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(tflite_file.finish(converted, DESCRIPTION))
    return file


def test_the_description_is_in_the_flatbuffer(path):
    assert tflite_file.read_metadata(path) == DESCRIPTION
    # Without the archive behind it, as tools leave a file that write it anew.
    model = flatbuffer_utils.read_model(str(path))
    flatbuffer_utils.write_model(model, str(path))
    assert not zipfile.is_zipfile(path)
    assert tflite_file.read_metadata(path) == DESCRIPTION


def test_labels_are_in_the_archive(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "a\nb\nGröße\n"


def test_no_byte_depends_on_time_or_order(converted, monkeypatch):
    files = []
    for zone, keys in (("UTC", sorted), ("Asia/Tokyo", reversed)):
        monkeypatch.setitem(os.environ, "TZ", zone)
        shuffled = {key: DESCRIPTION[key] for key in keys(list(DESCRIPTION))}
        files.append(tflite_file.finish(converted, shuffled))
    assert files[0] == files[1]
    assert files[0] != tflite_file.finish(converted, {**DESCRIPTION, "scheme": "euler"})


def test_runtimes_do_not_mind(path):
    image = np.array([[0.5, -1.0]], "float32")
    runner = Interpreter(model_path=str(path)).get_signature_runner("twice")
    expected = np.tanh(np.tanh(image))
    np.testing.assert_allclose(runner(image=image)["logits"], expected, atol=1e-6)


def test_a_file_without_metadata_has_none(converted, path):
    path.write_bytes(converted)
    with pytest.raises(KeyError, match="cnet_tf"):
        tflite_file.read_metadata(path)


def test_operators_are_those_of_a_signature(path):
    assert tflite_file.operators(path) == ["TANH"]
    assert tflite_file.operators(path, "twice") == ["TANH", "TANH"]


@pytest.mark.parametrize("limit, passes", [(255.0, True), (254.0, False)])
def test_pixels_have_to_be_taken_as_they_are(archive, path, limit, passes):
    signatures = ["serving_default", "twice"]
    inputs = [np.array([[0.0, limit]], "float32")]
    content = tflite_conversion.convert(archive, signatures, "int8", inputs, tf.uint8)
    path.write_bytes(content)
    if passes:
        tflite_file.require_pixels(path)
    else:
        with pytest.raises(parity.ParityError, match="scale 1 and zero point 0. Rec"):
            tflite_file.require_pixels(path)
