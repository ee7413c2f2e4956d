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
_GRADIENTS = pathlib.Path(__file__).with_name("gradients_program.py")
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
def backend(request):
    """(name, interpreter)."""
    return request.param.__name__.strip("_"), request.param()


def printed(backend, program, *arguments, **env) -> dict:
    """What a program prints, in a process and interpreter of its own."""
    name, python = backend
    done = subprocess.run(
        [python, str(program), *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": name, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backend")
    net, images = image_net(unit="pre", nodes=2), normal((3, 8, 8, 3))
    checkpoint.save(net, folder / "reference")
    np.save(folder / "images.npy", images)
    np.save(folder / "logits.npy", net.predict(images, verbose=0))
    facts = printed(backend, _PROGRAM, folder)
    assert facts["backend"] == backend[0]
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


@pytest.mark.slow
def test_gradients_in_float64_are_those_of_the_unrolled_graph(backend):
    apart = printed(backend, _GRADIENTS, JAX_ENABLE_X64="1")
    assert apart and max(apart.values()) < 1e-12, apart
