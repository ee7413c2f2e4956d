"""A C++ program runs every signature, with the library that TF Serving is built on."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, parse, pixels

from export import saved_model, serving

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


@pytest.mark.slow
def test_every_signature_from_cpp(client, runs, digits_dir, tmp_path):
    version = saved_model.main(
        parse(
            [
                f"--run={runs['digits']}",
                f"--data_dir={digits_dir}",
                f"--output={tmp_path}",
                "--manifestations=euler:2,midpoint:4",
                "--input=uint8",
                "--parity_images=8",
                "--accuracy_images=8",
            ]
        )
    )
    images = pixels(5)
    (tmp_path / "pixels").write_bytes(images.tobytes())
    shape = map(str, images.shape)
    done = subprocess.run(
        [client, version, tmp_path / "pixels", *shape], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        found[name] = np.array(numbers, "float32").reshape(5, 10)
    manifestations = {
        "serving_default": ("rk4", 1),
        "euler_2": ("euler", 2),
        "midpoint_4": ("midpoint", 4),
    }
    assert found.keys() == manifestations.keys()
    for name, (scheme, steps) in manifestations.items():
        net = copy_of_keras(runs["digits"], scheme, steps)
        expected = serving.keras_logits(net, DIGITS)(images)
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5)
    assert np.abs(found["euler_2"] - found["midpoint_4"]).max() > 0.01


@pytest.mark.slow
def test_errors_of_the_client(client, tmp_path):
    done = subprocess.run(
        [client, tmp_path, "/dev/null", "1", "8", "8", "1"], capture_output=True
    )
    assert done.returncode == 1 and b"NOT_FOUND" in done.stderr
