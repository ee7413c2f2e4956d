"""The commands as people type them: help, one-line errors, exit codes."""

import dataclasses
import importlib
import pathlib
import re
import subprocess
import sys

import pytest
from short_runs import command

from trainers.options import Options

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _run(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", ["train", "evaluate", "converge", "inside", "matrix"]
)
def test_help_explains_every_flag(script):
    result = _run(f"trainers/{script}.py", "--help")
    flags = {"train": len(dataclasses.fields(Options))}.get(script, 7)
    assert result.stdout.count("Default:") >= flags


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["saved_model", "tflite", "onnx_graph", "web", "report"]
)
def test_help_of_the_exports_explains_every_flag(name):
    script = importlib.import_module(f"export.{name}")
    text = _run(f"export/{name}.py", "--help").stdout
    for flag in (field.name for field in dataclasses.fields(script.Options)):
        assert re.search(rf"--(\[no\])?{flag}:", text), flag


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trainers/train.py", "--scheme=rk5"], "error: --scheme: expected one of"),
        (["trainers/train.py", "--noresume=1"], "error: --noresume=1 does not take"),
        (["trainers/train.py", "stray"], "error: expected flags only"),
        (["trainers/train.py", "--dataset=cifar11"], "error: dataset: expected"),
        (["trainers/evaluate.py", "--run=/nowhere"], "error: --run: /nowhere/net/"),
        (["trainers/evaluate.py", "--steps=0"], "error: --steps: expected"),
        (["export/report.py", "--run=/nowhere"], "error: --run: /nowhere/net/net.json"),
        (
            ["export/report.py", "--budget_ms=-1"],
            "error: --budget_ms: expected a number >= 0",
        ),
    ],
)
def test_bad_input_is_a_line_and_exit_code_two(arguments, message, tmp_path):
    result = _run(str(ROOT / arguments[0]), *arguments[1:], cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    lines = [x for x in result.stderr.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith(message)
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_that_diverges_is_a_result_and_exit_code_one(tmp_path, digits_dir):
    more = ["--learning_rate=1e30", "--rollbacks=1", "--epochs=1"]
    result = _run(*command(tmp_path / "runs", digits_dir, *more)[1:])
    assert result.returncode == 1, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: --learning_rate: training diverged at epoch 0")
    assert "Traceback" not in result.stderr
