"""All formats keep their gates: on real images, and for a net that was trained."""

import os
import pathlib
import subprocess
import sys

import pytest
from trained_run import parse, save_run

from export import onnx_graph, saved_model, tflite
from trainers import fit
from trainers.data import load
from trainers.options import Options
from trainers.place import Place
from trainers.plan import Plan

SCRIPTS = {"saved_model": saved_model, "tflite": tflite, "onnx": onnx_graph}
FULL_DISK = pathlib.Path(__file__).with_name("full_disk.py")


@pytest.fixture(scope="module")
def cifar_run(cifar_dir, tmp_path_factory):
    """A net of the CIFAR shape with norms far from neutral, untrained."""
    options = Options()
    plan = Plan(options, Place.of(options), load("cifar10", cifar_dir))
    data = plan.metadata["data"]
    folder = tmp_path_factory.mktemp("runs") / "cifar"
    # With its own horizon, 2, random norms give logits of 245, where the numbers of
    # float32 are wider apart than the gate; with 1 they are those of a trained net.
    return save_run(folder, "cifar10_2-2-2_rk4", data, (32, 32, 3), horizon=1)


@pytest.mark.slow
@pytest.mark.parametrize("form", SCRIPTS)
def test_a_thousand_real_images(cifar_run, cifar_dir, tmp_path, form, capsys):
    """1e-5 and 1e-4, edge inputs included; the script raises where they are missed."""
    script = SCRIPTS[form]
    script.main(
        parse(
            [
                f"--run={cifar_run}",
                f"--data_dir={cifar_dir}",
                f"--output={tmp_path}",
                "--parity_images=1000",
                "--accuracy_images=1000",
            ],
            script.Options,
        )
    )
    assert "| rk4-2 " in capsys.readouterr().out


@pytest.fixture(scope="module")
def digits_run(digits_dir, tmp_path_factory):
    """A net trained on digits for a few seconds, beyond 90 %."""
    summary = fit.fit(
        Options(
            data_dir=digits_dir,
            preset="digits",
            nodes=(2,),
            epochs=4,
            batch_size=32,
            learning_rate=0.05,
            schedule="cosine",
            tensorboard=False,
            verbose=0,
            runs_dir=str(tmp_path_factory.mktemp("runs")),
        )
    )
    assert summary["test_accuracy"] > 0.9
    return summary["run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, precision",
    [
        ("saved_model", None),
        *(("tflite", precision) for precision in tflite.FORMAT.precisions),
        *(("onnx", precision) for precision in onnx_graph.FORMAT.precisions),
    ],
)
def test_a_trained_net_keeps_its_accuracy(
    digits_run, digits_dir, tmp_path, form, precision
):
    """On the whole test set: 0.02 points, half a point with fewer bits."""
    script = SCRIPTS[form]
    arguments = [f"--run={digits_run}", f"--data_dir={digits_dir}"]
    arguments += [f"--output={tmp_path}"]
    arguments += [f"--precision={precision}"] if precision else []
    assert script.main(parse(arguments, script.Options)).exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", SCRIPTS)
def test_two_processes_write_the_same_bytes(digits_run, digits_dir, tmp_path, form):
    """Of every file, the model card included."""
    for name in ("first", "again"):
        subprocess.run(
            [
                *(sys.executable, SCRIPTS[form].__file__, "--accuracy_images=20"),
                f"--run={digits_run}",
                f"--data_dir={digits_dir}",
                f"--output={tmp_path / name}",
            ],
            check=True,
            capture_output=True,
        )
    first, again = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("first", "again")
    )
    assert first == again and len(first) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("form", SCRIPTS)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    digits_run, digits_dir, tmp_path, form
):
    done = subprocess.run(
        [
            *(sys.executable, FULL_DISK, SCRIPTS[form].__file__),
            f"--run={digits_run}",
            f"--data_dir={digits_dir}",
            f"--output={tmp_path / 'new' / 'folder'}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: --output: expected a folder that can be written.")
    assert "File too large" in last and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
