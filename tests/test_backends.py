"""The library on JAX and PyTorch: training, growth, manifestations, files."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from checkpoint_nets import image_net, normal

from cnet_tf import checkpoint

_PROGRAM = pathlib.Path(__file__).with_name("backend_program.py")
# That of `make torch`: PyTorch is too large for everybody's environment.
_TORCH = _PROGRAM.parents[1] / "build" / "torch"


def _jax():
    pytest.importorskip("jax")
    return sys.executable


def _torch():
    if not (_TORCH / "requirements.stamp").is_file():  # Whole.
        pytest.skip("PyTorch has an environment of its own: make torch")
    return str(_TORCH / "bin" / "python")


@pytest.fixture(scope="module", params=[_jax, _torch], ids=["jax", "torch"])
def found(request, tmp_path_factory):
    """What the program prints, with a process and interpreter of its own."""
    python = request.param()
    folder = tmp_path_factory.mktemp("backend")
    net, images = image_net(unit="pre", nodes=2), normal((3, 8, 8, 3))
    checkpoint.save(net, folder / "reference")
    np.save(folder / "images.npy", images)
    np.save(folder / "logits.npy", net.predict(images, verbose=0))
    backend = request.param.__name__.strip("_")
    done = subprocess.run(
        [python, str(_PROGRAM), str(folder)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["backend"] == backend
    return facts


@pytest.mark.slow
@pytest.mark.parametrize("model", ["own", "preset"])
def test_the_library_on_another_backend(found, model):
    facts = found[model]
    assert facts["losses"][-1] < facts["losses"][0]
    for kind in ("moved", "moved_without_state"):
        assert facts[kind] and all(facts[kind])
    assert facts["refined_delta"] < 1e-5
    assert facts["iterations"] == 4 * 4 + 4 + 4
    assert facts["cheap_delta"] > 1e-4
    assert facts["small"] == [1]
    assert facts["batches"] == 2
    assert facts["keras_file_delta"] == facts["checkpoint_delta"] == 0


@pytest.mark.slow
def test_another_backend_computes_the_logits_of_tensorflow(found):
    assert found["reference_delta"] < 1e-5
