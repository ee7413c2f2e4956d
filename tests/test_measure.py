"""Costs are those of the artefact that was asked for, in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest
from trained_run import parse

from export import measure as measuring
from export import onnx_graph, saved_model, tflite
from export.measure import MeasureError, latency, measure, peak_memory

SCRIPTS = {"saved_model": saved_model, "tflite": tflite, "onnx": onnx_graph}
IMAGE = np.zeros((1, 8, 8, 1), "float32")


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
        form: script.main(parse(arguments, script.Options))
        for form, script in SCRIPTS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", SCRIPTS)
def test_cost_of_one_image(artefacts, form):
    held = np.ones(30_000_000)  # 240 MB of this process, none of the child's.
    reader = SCRIPTS[form].FORMAT.reload
    cost = measure(
        reader, artefacts[form], "serving_default", IMAGE, threads=1, runs=20
    )
    assert 0 < cost.low <= cost.median <= cost.high < 1
    assert 2e7 < cost.peak_memory
    assert held.nbytes < peak_memory()
    if form != "saved_model":  # Which loads TensorFlow.
        assert cost.peak_memory < 1.5e8


# The command of `measure`, and what it has imported at the end.
_CHILD = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, others",
    [
        ("tflite", {"onnxruntime", "onnx", "tf2onnx"}),
        ("onnx", {"ai_edge_litert", "onnx", "tf2onnx"}),
    ],
)
def test_a_child_imports_the_runtime_of_its_format_alone(
    artefacts, tmp_path, form, others
):
    reader = SCRIPTS[form].FORMAT.reload
    np.save(tmp_path / "image.npy", IMAGE)
    done = subprocess.run(
        [
            *(sys.executable, "-c", _CHILD, measuring.__file__),
            f"{reader.__module__}:{reader.__qualname__}",
            *(artefacts[form], "serving_default", tmp_path / "image.npy"),
            *("1", "2", tmp_path / "result"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert {"export", "numpy"} < imported
    assert imported.isdisjoint({"tensorflow", "keras", "cnet_tf", "trainers"} | others)


def test_a_broken_artefact_is_told(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(MeasureError, match="broken.tflite: expected a result"):
        measure(tflite.FORMAT.reload, path, "serving_default", IMAGE)


def test_latency_counts_calls_after_the_warm_up(monkeypatch):
    calls, now = [], [0.0]
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])

    def call():
        """Takes 100 s twice, then 1 s, 2 s, 3 s, .."""
        calls.append(1)
        now[0] += 100 if len(calls) <= 2 else len(calls) - 2

    found = latency(call, runs=21, warm_up=2)
    assert len(calls) == 23
    assert (found.low, found.median, found.high) == (2, 11, 20)
