"""oneDNN is on in trainers, before TensorFlow is imported, and as it was elsewhere."""

import os
import pathlib
import subprocess
import sys

import pytest

from trainers import onednn

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Runs a program as it is typed. Prints the variable at the moment when TensorFlow is
# looked for; where that never happens, nothing.
SPY = """
import os, runpy, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            print("seen:", os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
            raise SystemExit(0)

sys.meta_path.insert(0, Finder())
sys.argv = sys.argv[1:]
if "/" in sys.argv[0]:
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    __import__(sys.argv[0])
"""


def seen(program, value=None):
    """What a fresh process has set when it imports TensorFlow."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    environment.pop(onednn.VARIABLE, None)
    if value is not None:
        environment[onednn.VARIABLE] = value
    done = subprocess.run(
        [sys.executable, "-c", SPY, program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    return line.removeprefix("seen: ")


TRAINERS = [f"trainers/{name}.py" for name in ("train", "evaluate", "benchmark")]
EXPORTS = [
    f"export/{name}.py" for name in ("saved_model", "tflite", "onnx_graph", "report")
]


@pytest.mark.parametrize("program", TRAINERS)
def test_trainers_switch_it_on(program):
    assert seen(program) == "1"


@pytest.mark.parametrize("value", ["0", "1"])
def test_what_the_user_has_set_is_kept(value):
    assert seen(TRAINERS[0], value) == value


@pytest.mark.parametrize(
    "program", [*EXPORTS, "trainers.train", "trainers.evaluate", "trainers.data"]
)
def test_exports_and_imports_leave_it_alone(program):
    assert seen(program) == "None"
    assert seen(program, "1") == "1"
