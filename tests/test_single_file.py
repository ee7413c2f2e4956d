"""What is written to one file agrees with Keras, or leaves what was there before."""

import dataclasses
import os

import keras
import numpy as np
import pytest
from slow_cases import fast
from trained_run import (
    DIGITS,
    MANIFESTATIONS,
    copy_of_keras,
    pixels,
    stand_in,
    ungated,
)

from export import onnx_graph, parity, serving, single_file, tflite
from trainers.errors import OptionError

MODULES = {"tflite": tflite, "onnx": onnx_graph}


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]


@pytest.fixture
def flags_for(export_flags, module):
    return export_flags(module.Options)


@pytest.mark.parametrize("scheme, steps", fast(MANIFESTATIONS, MANIFESTATIONS[0]))
def test_it_agrees_with_keras(runs, module, flags_for, tmp_path, scheme, steps):
    run = runs["digits"]
    flags = flags_for(f"--run={run}", f"--scheme={scheme}", f"--steps={steps}")
    path = module.main(flags)
    assert path == tmp_path / "out" / f"{scheme}-{steps}.{module.FORMAT.name}"
    assert sorted(os.listdir(path.parent)) == [path.name, f"{path.name}.md"]
    reference = serving.keras_logits(copy_of_keras(run, scheme, steps), DIGITS)
    call = module.FORMAT.reload(path)["serving_default"]
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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_threads_change_no_bits(runs, module, flags_for, precision):
    flags = flags_for(f"--run={runs['digits']}", f"--precision={precision}")
    path = module.main(flags)
    one, two, all_ = (
        module.FORMAT.reload(path, threads)["serving_default"]
        for threads in (1, 2, None)
    )
    for count in (1, 7, 128):
        image = serving.feeder(DIGITS)(pixels(count))
        expected = one(image)["logits"]
        for call in (two, all_):
            np.testing.assert_array_equal(call(image)["logits"], expected)


@pytest.fixture
def broken(module):
    """What was written and read back is wrong."""
    return dataclasses.replace(module.FORMAT, reload=stand_in)


@pytest.fixture
def no_gate(broken):
    return ungated(broken)


@pytest.fixture
def before(module, tmp_path):
    """The file of an export before."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"rk4-1.{module.FORMAT.name}"
    path.write_bytes(b"old")
    return path


def test_a_failed_gate_keeps_the_file_of_before(broken, before, flags_for):
    with pytest.raises(parity.ParityError):
        single_file.to_file(flags_for(), broken)
    assert before.read_bytes() == b"old"
    assert os.listdir(before.parent) == [before.name]


def test_a_failed_gate_leaves_no_folder(broken, flags_for, tmp_path):
    with pytest.raises(parity.ParityError):
        single_file.to_file(flags_for(f"--output={tmp_path / 'new' / 'er'}"), broken)
    assert os.listdir(tmp_path) == []


def test_the_file_of_before_is_replaced(no_gate, before, flags_for):
    path = single_file.to_file(flags_for(), no_gate)
    assert path == before and len(before.read_bytes()) > 3
    assert sorted(os.listdir(before.parent)) == [before.name, f"{before.name}.md"]


@pytest.mark.slow
def test_a_folder_in_the_way_is_refused(no_gate, before, flags_for):
    before.unlink()
    before.mkdir()
    with pytest.raises(OptionError, match=f"--output: .*{before.name}"):
        single_file.to_file(flags_for(), no_gate)
    assert os.listdir(before.parent) == [before.name]
