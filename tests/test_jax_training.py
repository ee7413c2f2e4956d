"""Training on JAX: the updates of TensorFlow, and whole runs that TensorFlow reads."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from cnet_tf import checkpoint, continuous_net
from trainers import members, steps
from trainers.growth import State
from trainers.options import Options
from trainers.schedule import make_optimizer

ROOT = pathlib.Path(__file__).resolve().parents[1]
pytest.importorskip("jax")

OPTIONS = Options(
    optimizer="sgd",
    nesterov=True,
    any_depth=(("euler", 1), ("midpoint", 1), ("euler", 2)),
)
SETTINGS = {
    "batch_size": 16,
    "weight_decay": 0.01,
    "smoothing": 0.1,
    "member_weight": 0.3,
    "member_targets": "distilled",
}


def updated(net, images, labels):
    """The net and the sums of updates in which its members take turns.

    Run here on TensorFlow and, by `__main__` below, on JAX.
    """
    state = State(net, make_optimizer(OPTIONS, net.trainable_variables))
    state = members.start(state, OPTIONS)
    net, optimizer = state.net, state.optimizer
    strategy = steps.tf.distribute.get_strategy()
    programs = [
        steps.training_program(net, optimizer, strategy, members=turn, **SETTINGS)
        for turn in members.turns(net)
    ]
    sums = [
        programs[i % len(programs)](*batch)
        for i, batch in enumerate(zip(images, labels, strict=True))
    ]
    sums.append(steps.evaluation_program(net, strategy)(images[0], labels[0]))
    values = [keras.ops.convert_to_numpy(v) for v in net.variables]
    return np.stack(sums), values


def program(*arguments, backend="jax"):
    """Runs a program of ours on a backend."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def images():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=(4, 16))
    return rng.normal(size=(4, 16, 8, 8, 1)).astype("float32"), labels


def net_of_one_block():
    keras.utils.set_random_seed(0)
    return continuous_net(
        "digits", widths=(4,), strides=(1,), nodes=2, scheme="midpoint"
    )


@pytest.mark.slow
def test_updates_on_jax_are_those_on_tensorflow(tmp_path):
    net = net_of_one_block()
    checkpoint.save(net, tmp_path / "net")
    code, out, error = program(__file__, tmp_path)
    assert code == 0, error
    sums, values = updated(net, *images())
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["sums"], sums, rtol=1e-5)
    for i, value in enumerate(values):
        np.testing.assert_allclose(found[f"v{i}"], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_step_whose_loss_is_not_finite_changes_nothing_on_jax(tmp_path):
    checkpoint.save(net_of_one_block(), tmp_path / "net")
    code, out, error = program(__file__, tmp_path, "nan")
    assert code == 0, error
    assert json.loads(out.splitlines()[-1]) == {"finite": False, "moved": 0}


RUN = [
    *("--preset=digits", "--grow=0:euler:1:1,1:midpoint:2:2", "--any_depth=euler:1"),
    *("--any_depth_epoch=1", "--batches_per_epoch=2", "--verbose=0", "--name=run"),
    *("--ema=0.9", "--epochs=2", "--recalibrate=0"),
]


@pytest.mark.slow
def test_a_run_on_jax_resumes_bit_equal_and_is_read_on_tensorflow(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    script = ROOT / "trainers" / "train.py"
    code, _, error = program(script, *RUN, f"--runs_dir={whole}")
    assert code == 0, error
    for more in ["--max_minutes=1e-6"], []:
        code, _, error = program(
            script, *RUN, f"--runs_dir={parts}", "--save_batches=1", *more
        )
        assert code == 0, error
    runs = [next(folder.glob("run-*")) for folder in (whole, parts)]
    first, second = (checkpoint.load(run / "net").net for run in runs)
    for a, b in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    summary = json.loads((runs[0] / "summary.json").read_text())
    code, out, error = program(
        ROOT / "trainers" / "evaluate.py",
        *(f"--run={runs[0]}", "--schemes=midpoint", "--steps=2"),
        backend="tensorflow",
    )
    assert code == 0, error
    grid = (runs[0] / "evaluation" / "grid.csv").read_text()
    assert f"{summary['test_accuracy']:.3f}"[:5] in grid


@pytest.mark.slow
def test_backends_that_cannot_be_are_refused_in_a_line():
    script = ROOT / "trainers" / "train.py"
    for backend, flags, expected in (
        ("numpy", [], "error: KERAS_BACKEND: expected tensorflow or jax."),
        ("jax", ["--strategy=mirrored"], "error: --strategy: expected 'none'"),
    ):
        code, _, error = program(script, *flags, backend=backend)
        assert code == 2 and expected in error, error
    code, _, error = program(ROOT / "trainers" / "evaluate.py")
    assert code == 2 and "error: KERAS_BACKEND: expected tensorflow." in error, error


def main(folder, *task):
    net, (pixels, labels) = checkpoint.load(pathlib.Path(folder) / "net").net, images()
    if task:
        pixels[:] = np.inf
        before = [np.array(v) for v in net.trainable_variables]
        sums, values = updated(net, pixels[:1], labels[:1])
        moved = sum(
            bool(np.any(np.array(v) != old))
            for v, old in zip(net.trainable_variables, before, strict=True)
        )
        finite = bool(np.isfinite(sums[0, 0]))
        print(json.dumps({"finite": finite, "moved": moved}))
        return
    sums, values = updated(net, pixels, labels)
    named = {f"v{i}": value for i, value in enumerate(values)}
    np.savez(pathlib.Path(folder) / "found.npz", sums=sums, **named)


if __name__ == "__main__":
    main(*sys.argv[1:])
