import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import flags
from ai_edge_litert.interpreter import Interpreter
from trained_run import (
    DIGITS,
    MANIFESTATIONS,
    copy_of_keras,
    parse,
    pixels,
    stand_in,
)

import export
from export import parity, serving, tflite
from trainers.errors import OptionError

# Passes anything finite.
ANYTHING = parity.Gate(1e9, 100.0, 100.0)


@pytest.fixture
def flags_for(runs, digits_dir, tmp_path):
    """Flags for an export of the small run to an empty folder."""

    def build(*arguments):
        output = f"--output={tmp_path / 'out'}"
        shared = [f"--run={runs['small']}", f"--data_dir={digits_dir}", output]
        return parse([*shared, "--parity_images=20", *arguments], tflite.OPTIONS)

    return build


@pytest.mark.parametrize("scheme, steps", MANIFESTATIONS)
def test_export_agrees_with_keras(runs, flags_for, tmp_path, scheme, steps):
    run = runs["digits"]
    path = tflite.main(
        flags_for(f"--run={run}", f"--scheme={scheme}", f"--steps={steps}")
    )
    assert path == tmp_path / "out" / f"{scheme}-{steps}.tflite"
    assert os.listdir(path.parent) == [path.name]
    reference = serving.keras_logits(copy_of_keras(run, scheme, steps), DIGITS)
    call = tflite.reload(path)["serving_default"]
    for count in (1, 5, 2):
        outputs = call(serving.feeder(DIGITS)(pixels(count)))
        expected = reference(pixels(count))
        np.testing.assert_allclose(outputs["logits"], expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(
            outputs["probabilities"], keras.ops.softmax(expected), atol=1e-4
        )
        np.testing.assert_array_equal(outputs["label"], expected.argmax(-1))
    other = serving.keras_logits(copy_of_keras(run, "midpoint", 3), DIGITS)
    assert np.abs(other(pixels(2)) - expected).max() > 0.01


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
    logits = tflite.reload(path)["serving_default"](pixels(5))["logits"]
    np.testing.assert_allclose(logits, reference(pixels(5)), rtol=0, atol=1e-4)


@pytest.fixture
def broken(monkeypatch):
    """Writing is quick and what was written is wrong."""
    monkeypatch.setattr(serving, "write_archive", lambda path, *_: path.mkdir())
    monkeypatch.setattr(tflite, "convert", lambda *_: b"new")
    monkeypatch.setattr(tflite, "reload", stand_in)


def test_a_failed_gate_keeps_the_file_of_before(broken, flags_for, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rk4-1.tflite").write_bytes(b"old")
    with pytest.raises(parity.ParityError):
        tflite.main(flags_for())
    assert (tmp_path / "out" / "rk4-1.tflite").read_bytes() == b"old"
    assert os.listdir(tmp_path / "out") == ["rk4-1.tflite"]


def test_a_failed_gate_leaves_no_folder(broken, flags_for, tmp_path):
    with pytest.raises(parity.ParityError):
        tflite.main(flags_for(f"--output={tmp_path / 'new' / 'folder'}"))
    assert os.listdir(tmp_path) == []


def test_the_file_of_before_is_replaced(broken, flags_for, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rk4-1.tflite").write_bytes(b"old")
    monkeypatch.setattr(tflite, "GATE", ANYTHING)
    assert tflite.main(flags_for()).read_bytes() == b"new"
    assert os.listdir(tmp_path / "out") == ["rk4-1.tflite"]


def test_a_folder_in_the_way_is_refused(broken, flags_for, tmp_path, monkeypatch):
    (tmp_path / "out" / "rk4-1.tflite").mkdir(parents=True)
    monkeypatch.setattr(tflite, "GATE", ANYTHING)
    with pytest.raises(OptionError, match="--output: .*rk4-1.tflite"):
        tflite.main(flags_for())
    assert os.listdir(tmp_path / "out") == ["rk4-1.tflite"]


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--threads=0", "expected an integer >= 1. Received '0'"),
        ("--steps=two", "expected an integer >= 1. Received 'two'"),
        ("--steps=-1", "expected an integer >= 1. Received '-1'"),
        ("--parity_images=0", "expected an integer >= 1. Received '0'"),
        ("--scheme=rk5", "expected one of euler, .*Received 'rk5'"),
        ("--input=float16", "expected one of normalized, .*Received 'float16'"),
    ],
)
def test_bad_flags_are_refused(flags_for, argument, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        flags_for(argument)


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
    assert lines[-1].startswith("error: --scheme=rk5: expected one of euler")
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
