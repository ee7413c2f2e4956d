import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from trained_run import (
    DIGITS,
    copy_of_keras,
    pixels,
    save_run,
    ungated,
)

import export
from export import runtimes, serving, tflite, tflite_file
from trainers.errors import OptionError


@pytest.fixture
def flags_for(export_flags):
    return export_flags(tflite.Options)


def test_holds_one_signature_of_built_in_operations(flags_for):
    path = tflite.main(flags_for("--scheme=midpoint", "--steps=2"))
    interpreter = Interpreter(model_path=str(path))
    assert interpreter.get_signature_list() == {
        "serving_default": {
            "inputs": ["image"],
            "outputs": ["label", "logits", "probabilities"],
        }
    }
    # What operations of TensorFlow itself would be called.
    assert b"Flex" not in path.read_bytes()


def test_uint8_input(runs, flags_for):
    path = tflite.main(flags_for("--threads=2", "--input=uint8"))
    (image,) = Interpreter(model_path=str(path)).get_input_details()
    assert image["dtype"] == np.uint8
    assert list(image["shape_signature"]) == [-1, 8, 8, 1]
    # From raw pixels to the logits that Keras gives for normalised ones.
    reference = serving.keras_logits(copy_of_keras(runs["small"], "rk4", 1), DIGITS)
    logits = runtimes.tflite(path)["serving_default"](pixels(5))["logits"]
    np.testing.assert_allclose(logits, reference(pixels(5)), rtol=0, atol=1e-4)


def _logits(path, signature="serving_default", count=20):
    image = serving.feeder(DIGITS)(pixels(count))
    return runtimes.tflite(path)[signature](image)["logits"]


@pytest.mark.slow
def test_signatures_share_their_weights(tmp_path, flags_for):
    """Three in one file at most 1.1 x the size of one; the weights outweigh graphs."""
    run = save_run(tmp_path / "wide", widths=(64,), strides=(1,), nodes=2)
    arguments = (f"--run={run}", "--scheme=rk4", "--nofold")
    one = tflite.main(flags_for(*arguments)).stat().st_size
    several = tflite.main(
        flags_for(*arguments[:2], "--manifestations=euler:2,midpoint:2")
    )
    assert several.stat().st_size < 1.1 * one
    nets = {
        "serving_default": copy_of_keras(run, "rk4", 2),
        "euler_2": copy_of_keras(run, "euler", 2),
        "midpoint_2": copy_of_keras(run, "midpoint", 2),
    }
    assert runtimes.tflite(several).keys() == nets.keys()
    for signature, net in nets.items():
        expected = serving.keras_logits(net, DIGITS)(pixels(20))
        assert np.abs(_logits(several, signature) - expected).max() < 1e-4
    others = [_logits(several, signature) for signature in nets]
    assert np.abs(others[0] - others[1]).max() > 0.01
    assert np.abs(others[0] - others[2]).max() > 0.001
    found = tflite_file.read_metadata(several)["signatures"]
    assert {name: value["steps"] for name, value in found.items()} == {
        name: [2] for name in nets
    }


@pytest.mark.slow
def test_folding_leaves_fewer_operators(flags_for):
    folded = tflite_file.operators(tflite.main(flags_for("--steps=2")))
    plain = tflite_file.operators(tflite.main(flags_for("--steps=2", "--nofold")))
    assert folded.count("CONV_2D") == plain.count("CONV_2D")
    assert len(folded) < len(plain)


# An export without a gate, in a process of its own.
_EXPORT = """
import sys, trained_run
from export import tflite
tflite.FORMAT = trained_run.ungated(tflite.FORMAT)
tflite.main(trained_run.parse(sys.argv[1:], tflite.Options))
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_same_net_gives_the_same_bytes(
    runs, digits_dir, flags_for, monkeypatch, tmp_path, precision
):
    """In one process, and in another with other hashes of strings."""
    monkeypatch.setattr(tflite, "FORMAT", ungated(tflite.FORMAT))
    arguments = [f"--precision={precision}", "--calibration_images=100"]
    first, again = (tflite.main(flags_for(*arguments)).read_bytes() for _ in range(2))
    assert first == again
    arguments += [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
    arguments += [f"--output={tmp_path / 'other'}", "--parity_images=20"]
    tests = pathlib.Path(__file__).parent
    paths = os.pathsep.join(map(str, (tests, tests.parent)))
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, *arguments],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (other,) = (tmp_path / "other").glob("*.tflite")
    assert other.read_bytes() == first


@pytest.mark.slow
def test_metadata_are_in_the_file_and_labels_an_archive_behind_it(runs, flags_for):
    path = tflite.main(flags_for("--steps=2"))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().split() == DIGITS["class_names"]
    found = tflite_file.read_metadata(path)
    assert found["signatures"]["serving_default"]["scheme"] == "rk4"
    assert found["normalization"] == {"mean": DIGITS["mean"], "std": DIGITS["std"]}
    assert str(runs["small"].parent) not in json.dumps(found)


@pytest.mark.slow
def test_weights_are_where_vector_units_want_them(flags_for):
    """The schema's force_align of 16, which TensorFlow's converter does not keep."""
    content = tflite.main(flags_for()).read_bytes()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    weights = [b.data.tobytes() for b in model.buffers if b.data is not None]
    places = [content.find(value) for value in weights if len(value) >= 64]
    assert places and all(place % 16 == 0 for place in places)


def test_it_is_timed_on_threads_asked_for_and_compared_on_all(flags_for, monkeypatch):
    calls, form = [], tflite.FORMAT

    def reload(file, threads=None):
        found = form.reload(file, threads)
        return {name: spied(call, threads) for name, call in found.items()}

    def spied(call, threads):
        return lambda image: calls.append((threads, len(image))) or call(image)

    spies = dataclasses.replace(form, reload=reload)
    monkeypatch.setattr(tflite, "FORMAT", spies)
    tflite.main(flags_for("--threads=2", "--accuracy_images=20"))
    compared = [1, 7, 12, 1, 1, 3]
    assert calls == 55 * [(2, 1)] + [(None, count) for count in compared]


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--threads=0", "expected an integer >= 1. Received 0"),
        ("--steps=two", "expected integers >= 1. Received 'two'"),
        ("--steps=-1", "expected integers >= 1. Received '-1'"),
        ("--parity_images=0", "expected an integer >= 1. Received 0"),
        ("--precision=int4", "expected one of float32, .*Received 'int4'"),
        ("--calibration_images=50", "expected an integer >= 100. Received 50"),
        ("--manifestations=rk4", "expected scheme:steps, like rk4:2 .*Received 'rk4'"),
        ("--manifestations=rk4:0", "integer >= 1.*Received 'rk4:0'"),
        ("--manifestations=rk5:1", "one of euler, .*Received 'rk5:1'"),
        ("--manifestations=rk4:1,rk4:1", "each once. Received 'rk4:1,rk4:1'"),
        ("--basis_size=0", "expected an integer >= 1. Received 0"),
        ("--scheme=rk5", "expected one of euler, .*Received 'rk5'"),
        ("--input=float16", "expected one of normalized, .*Received 'float16'"),
    ],
)
def test_bad_flags_are_refused(flags_for, argument, message):
    with pytest.raises(OptionError, match=message):
        flags_for(argument)


@pytest.mark.slow
def test_the_script_says_one_line_and_exits_with_2(tmp_path):
    script = pathlib.Path(export.__file__).parent / "tflite.py"
    done = subprocess.run(
        [sys.executable, script, "--scheme=rk5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("error: --scheme: expected one of euler")
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_what_ignores_signatures_runs_the_first_and_every_tensor_has_a_name(flags_for):
    """Readers of graph 0 and readers that find tensors by name: OpenVINO, OpenCV."""
    path = tflite.main(flags_for("--manifestations=euler:1,midpoint:2"))
    model = flatbuffer_utils.read_model(str(path))
    keys = [signature.signatureKey.decode() for signature in model.signatureDefs]
    assert keys[0] == "serving_default" and len(keys) == 3
    assert [s.subgraphIndex for s in model.signatureDefs] == [0, 1, 2]
    for graph in model.subgraphs:
        names = [tensor.name for tensor in graph.tensors]
        assert all(names) and len(set(names)) == len(names)
    interpreter = Interpreter(model_path=str(path))
    image = serving.feeder(DIGITS)(pixels(1))
    (entry,) = interpreter.get_input_details()
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], image)
    interpreter.invoke()
    details = interpreter.get_output_details()
    found = [interpreter.get_tensor(detail["index"]) for detail in details]
    expected = interpreter.get_signature_runner("serving_default")(image=image)[
        "logits"
    ]
    assert any(np.array_equal(value, expected) for value in found)
