"""A C++ program runs every signature, with the library that TF Serving is built on."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, export_version, pixels

from export import serving

SOURCE = pathlib.Path(__file__).with_name("serving_client.cc")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The compiled program."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no C++ compiler: neither g++ nor clang++ is on the PATH")
    library = pathlib.Path(tf.sysconfig.get_lib())
    if not list(library.glob("libtensorflow_cc.so*")):
        pytest.skip(f"no libtensorflow_cc in {library}")
    program = tmp_path_factory.mktemp("client") / "serving_client"
    done = subprocess.run(
        [
            *(compiler, "-O1", "-w", SOURCE, "-o", program),
            *tf.sysconfig.get_compile_flags(),
            # Nothing names the part of the library that registers sessions.
            *(f"-L{library}", "-Wl,--no-as-needed"),
            *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
            f"-Wl,-rpath,{library}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return program


NETS = {
    "serving_default": ("rk4", 1),
    "euler_2": ("euler", 2),
    "midpoint_4": ("midpoint", 4),
}


@pytest.fixture(scope="module", params=["uint8", "normalized"])
def exported(request, runs, digits_dir, tmp_path_factory):
    """A kind of input and the version exported with it."""
    output, kind = tmp_path_factory.mktemp("exports"), f"--input={request.param}"
    version = export_version(runs["digits"], digits_dir, output, kind)
    return request.param, version


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_every_signature_from_cpp(client, exported, runs, tmp_path, count):
    kind, version = exported
    images = serving.feeder(DIGITS, kind)(pixels(count))
    (tmp_path / "images").write_bytes(images.tobytes())
    shape = map(str, images.shape)
    done = subprocess.run(
        [client, version, tmp_path / "images", *shape], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        found[name] = np.array(numbers, "float32").reshape(count, 10)
    assert found.keys() == NETS.keys()
    for name, (scheme, steps) in NETS.items():
        net = copy_of_keras(runs["digits"], scheme, steps)
        expected = serving.keras_logits(net, DIGITS)(pixels(count))
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5)
    assert np.abs(found["euler_2"] - found["midpoint_4"]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["/dev/null", "1", "8", "8"], 2, b"expected 6 arguments, received 5"),
        (["/dev/null", "1", "8", "8", "x"], 2, b"1 or more, received x"),
        (["/dev/null", "1", "8", "8", "1"], 2, b"bytes, "),
        (["/nowhere", "1", "8", "8", "1"], 2, b"in /nowhere, received -1"),
    ],
)
def test_bad_arguments(client, exported, arguments, code, message):
    _, version = exported
    done = subprocess.run([client, version, *arguments], capture_output=True)
    assert done.returncode == code and message in done.stderr
    assert done.stdout == b""


@pytest.mark.slow
def test_a_folder_without_a_model(client, tmp_path):
    done = subprocess.run(
        [client, tmp_path, "/dev/null", "1", "8", "8", "1"], capture_output=True
    )
    assert done.returncode == 1 and b"NOT_FOUND" in done.stderr
