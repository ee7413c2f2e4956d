"""Commands start without packages that they do not need, and can use them later."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from trainers import quick_start

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("trainers", "export")
    for path in (ROOT / folder).glob("*.py")
    if "import_keras()" in path.read_text() and path.stem != "quick_start"
)

# Runs a program as it is typed up to the import of TensorFlow, where it prints what
# cannot be imported.
SPY = """
import runpy, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            print(*sorted(key for key, value in sys.modules.items() if value is None))
            raise SystemExit(0)

sys.meta_path.insert(0, Finder())
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def output(program, *arguments, **environment):
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_every_script_is_found():
    assert {"trainers/train.py", "trainers/flow.py", "export/tflite.py"} < {*SCRIPTS}
    typed = {
        str(path.relative_to(ROOT))
        for folder in ("trainers", "export")
        for path in (ROOT / folder).glob("*.py")
        if "\n    run(main, Options" in path.read_text()
    }
    assert typed <= {*SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_hides_them_before_tensorflow_comes(script):
    assert output(SPY, script, KERAS_BACKEND="tensorflow") == [*quick_start.PACKAGES]


def test_they_are_not_imported_and_can_be_later():
    program = """
import sys
from trainers import quick_start

quick_start.import_keras()
print(*[name for name in quick_start.PACKAGES if name in sys.modules])
import keras, jax, matplotlib.pyplot, sklearn.datasets
print(keras.backend.backend(), float(keras.ops.sum(keras.ops.ones(3))))
"""
    assert output(program, KERAS_BACKEND="tensorflow") == ["tensorflow", "3.0"]


@pytest.mark.parametrize(
    ("told", "backend"), [("variable", "jax"), ("file", "jax"), ("variable", "numpy")]
)
def test_keras_still_finds_jax_for_other_backends(told, backend, tmp_path):
    program = """
from trainers import quick_start

quick_start.import_keras()
import keras
print(keras.backend.backend())
"""
    chosen = {"KERAS_BACKEND": backend}
    if told == "file":
        (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
        chosen = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
    assert output(program, **chosen) == [backend]
