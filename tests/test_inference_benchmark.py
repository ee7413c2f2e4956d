"""Inference beside plain ResNets: the ratio of the table, and one that is measured."""

import csv

import numpy as np
import pytest
from trained_run import parse

from export import benchmark


def test_the_ratio_is_of_times_per_mac_in_the_same_rounds():
    # A machine that is slower from round to round; twice as much in 3 x the time.
    seconds = {"ours": [3.0, 5.0, 16.0], "theirs": [1.0, 2.0, 4.0]}
    row = benchmark.row_of("net", "onnx", 1, seconds, {"ours": 200, "theirs": 100})
    assert row["time_per_mac"] == 1.5
    assert (row["ours_ms"], row["theirs_ms"]) == (5000, 2000)
    assert "1.50 (1.25-2.00)" in benchmark.markdown([row])


def test_no_norm_or_bias_does_nothing():
    """Untrained ones are neutral, and folding leaves nothing of them to be timed."""
    for source in benchmark.sources("cifar10_2-2-2_euler").values():
        vectors = [v.numpy() for v in source.net.variables if "kernel" not in v.name]
        assert len(vectors) > 50
        assert all(np.all(v != 0) and np.all(v != 1) for v in vectors)


@pytest.mark.slow
def test_both_nets_are_measured_in_every_format(tmp_path):
    flags = ["--presets=cifar10_2-2-2_euler", "--batches=2", "--rounds=1", "--runs=1"]
    options = parse([*flags, f"--output={tmp_path}"], benchmark.Options)
    rows = benchmark.main(options)
    assert [row["format"] for row in rows] == ["saved_model", "tflite", "onnx"]
    assert all(row["ours_ms"] > 0 and row["theirs_ms"] > 0 for row in rows)
    assert rows[0]["ours_macs"] == pytest.approx(rows[0]["theirs_macs"], rel=0.01)
    with open(tmp_path / "inference.csv") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "inference.csv",
        "inference.md",
    ]
