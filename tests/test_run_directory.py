"""Run directories: new ones only, the newest found by name, bad paths refused."""

import os

import pytest

from trainers import run_directory
from trainers.errors import OptionError
from trainers.summary import report


def test_runs_never_share_a_directory_and_latest_is_the_newest(tmp_path):
    first, second = (run_directory.create(tmp_path / "runs", "net") for _ in range(2))
    assert first != second and first.is_dir() and second.is_dir()
    link = tmp_path / "runs" / "latest"
    assert link.resolve() == second.resolve()
    assert not os.path.isabs(os.readlink(link))  # The folder may be moved.
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    runs = tmp_path / "file" / "runs"
    with pytest.raises(OptionError, match="--runs_dir: .*file/runs': Not a directory"):
        with run_directory.writing(runs):
            run_directory.create(runs, "net")


def test_the_report_shows_the_figures():
    text = report(
        {
            "run": "runs/a",
            "test_accuracy": 0.98765,
            "test_loss": 0.1,
            "batch_size": 128,
            "replicas": 4,
            "parameters": 44306,
            "forward_flops_per_image": 850218,
            "images_per_second": 431.4,
            "train_seconds": 90.0,
            "wall_seconds": 120.0,
        }
    )
    for figure in ("98.77 %", "44,306", "850,218", "431", "1.5", "2.0", "runs/a/net"):
        assert figure in text
    assert "128 = 32 x 4 replicas" in text
