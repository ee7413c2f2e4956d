"""Costs are those of the artefact that was asked for, in a process of its own."""

import numpy as np
import pytest
from trained_run import parse

from export import onnx_graph, saved_model, tflite
from export.measure import MeasureError, measure, peak_memory

SCRIPTS = {"saved_model": saved_model, "tflite": tflite, "onnx": onnx_graph}


@pytest.fixture(scope="module")
def artefacts(runs, digits_dir, tmp_path_factory):
    arguments = [
        f"--run={runs['small']}",
        f"--data_dir={digits_dir}",
        f"--output={tmp_path_factory.mktemp('artefacts')}",
        "--parity_images=8",
        "--accuracy_images=8",
    ]
    return {
        form: script.main(parse(arguments, script.OPTIONS))
        for form, script in SCRIPTS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", SCRIPTS)
def test_cost_of_one_image(artefacts, form):
    held = np.ones(30_000_000)  # 240 MB of this process, none of the child's.
    image = np.zeros((1, 8, 8, 1), "float32")
    cost = measure(form, artefacts[form], "serving_default", image, threads=1, runs=20)
    assert 0 < cost.low <= cost.median <= cost.high < 1
    assert 2e7 < cost.peak_memory
    assert held.nbytes < peak_memory()
    if form != "saved_model":  # Which loads TensorFlow.
        limit = {"tflite": 3e8, "onnx": 2e9}[form]
        assert cost.peak_memory < limit


def test_a_broken_artefact_is_told(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model")
    image = np.zeros((1, 8, 8, 1), "float32")
    with pytest.raises(MeasureError, match="broken.tflite: expected a result"):
        measure("tflite", path, "serving_default", image)
