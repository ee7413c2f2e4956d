"""The library on JAX: training, growth, manifestations, files."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

_PROGRAM = pathlib.Path(__file__).with_name("jax_program.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), str(tmp_path_factory.mktemp("jax"))],
        env={**os.environ, "PYTHONPATH": str(_PROGRAM.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(
        zip(("own", "preset"), json.loads(done.stdout.splitlines()[-1]), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["own", "preset"])
def test_the_library_on_jax(found, model):
    facts = found[model]
    assert facts["backend"] == "jax"
    assert facts["losses"][-1] < facts["losses"][0]
    assert facts["moved"] and all(facts["moved"])
    assert facts["refined_delta"] < 1e-5
    assert facts["iterations"] == 4 * 4 + 4
    assert facts["cheap_is_other"]
    assert facts["batches"] == 2
    assert facts["loaded_delta"] == 0
