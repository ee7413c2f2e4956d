"""The report measures what the export scripts would write."""

import csv
import os

import numpy as np
import pytest
from trained_run import copy_of_keras, parse, save_run

from cnet_tf import checkpoint
from export import graph_cost, onnx_graph, report, survey, tflite
from export.measure import Cost
from export.pareto import BudgetError
from export.run import Run
from trainers.errors import OptionError


@pytest.fixture
def flags_for(runs, digits_dir, tmp_path):
    def build(*arguments, options=report.Options):
        output = f"--output={tmp_path / 'out'}"
        shared = [f"--run={runs['small']}", f"--data_dir={digits_dir}", output]
        shared += ["--parity_images=8", "--accuracy_images=40"]
        return parse([*shared, *arguments], options)

    return build


@pytest.fixture
def timed(monkeypatch):
    """Every artefact costs a number of milliseconds of its own: 1, 2, 3, .."""
    costs = iter(range(1, 100))

    def measure(*_):
        median = next(costs) / 1000
        return Cost(median, 0.5 * median, 2 * median, 3_000_000)

    monkeypatch.setattr(survey, "measure", measure)


@pytest.mark.slow
def test_rows_are_what_the_scripts_export(
    runs, flags_for, timed, tmp_path, monkeypatch
):
    flags = flags_for(
        "--manifestations=euler:2", "--formats=tflite,onnx", "--precisions=float32"
    )
    reads, load = [], checkpoint.load
    monkeypatch.setattr(
        checkpoint, "load", lambda path: reads.append(path) or load(path)
    )
    rows = report.main(flags)
    assert len(reads) == 1
    names = [(row["manifestation"], row["format"], row["precision"]) for row in rows]
    assert names == [
        ("rk4-1", "tflite", "float32"),
        ("rk4-1", "onnx", "float32"),
        ("euler-2", "tflite", "float32"),
        ("euler-2", "onnx", "float32"),
    ]
    assert [row["median_ms"] for row in rows] == [1, 2, 3, 4]
    assert all(row["peak_memory_mb"] == 3 and row["images"] == 40 for row in rows)
    assert all(0 < row["max_abs_delta_logits"] < 1e-4 for row in rows)
    assert all(r["accuracy_percent"] == r["keras_accuracy_percent"] for r in rows)
    assert all(row["same_label_percent"] is None for row in rows)
    net = copy_of_keras(runs["small"], "euler", 2)
    assert rows[2]["macs"] == graph_cost.macs(net, (8, 8, 1)) < rows[0]["macs"]
    for script, row in ((tflite, rows[0]), (onnx_graph, rows[1])):
        path = script.main(flags_for(options=script.Options))
        assert row["size_kb"] == round(path.stat().st_size / 1000, 1)
    folder = tmp_path / "out" / "report"
    assert sorted(os.listdir(folder)) == ["pareto.png", "report.csv", "report.md"]
    with open(folder / "report.csv") as file:
        assert [dict(row) for row in csv.DictReader(file)] == [
            {key: "" if value is None else str(value) for key, value in row.items()}
            for row in rows
        ]
    assert (folder / "report.md").read_text().count("\n") == 2 + len(rows)


@pytest.mark.slow
def test_a_budget_names_the_best_that_fits(flags_for, timed, capsys):
    few = ("--manifestations=euler:2", "--formats=tflite", "--precisions=float32")
    report.main(flags_for(*few, "--budget_ms=1.5"))
    assert "Best within the budget: rk4-1 tflite" in capsys.readouterr().out
    with pytest.raises(BudgetError, match="the quickest takes 3.0 ms"):
        report.main(flags_for(*few, "--budget_ms=1.5"))


def test_manifestations_by_default_and_without_the_nets_own(runs, flags_for, tmp_path):
    net = Run(runs["small"]).read().net
    found = survey._manifestations(flags_for(), net)
    assert found == [("euler", 1), ("midpoint", 1)]
    found = survey._manifestations(flags_for("--manifestations=rk4:1,rk4:3"), net)
    assert found == [("rk4", 3)]
    run = save_run(tmp_path / "resnet", "resnet20", blocks_per_stage=1)
    net = Run(run).read().net
    assert survey._manifestations(flags_for(), net) == []


def test_remembered_asks_once_for_equal_pixels():
    asked = []
    call = survey.remembered(lambda pixels: asked.append(1) or pixels.sum())
    a, b = np.arange(4, dtype=np.uint8), np.arange(1, 5, dtype=np.uint8)
    assert [call(a), call(b), call(a.copy()), call(a[:2])] == [6, 10, 6, 1]
    assert len(asked) == 3


@pytest.mark.parametrize(
    "argument",
    [
        "--formats=pickle",
        "--formats=",
        "--precisions=int4",
        "--runs=1",
        "--budget_ms=-1",
        "--manifestations=rk4",
    ],
)
def test_bad_flags_are_refused(flags_for, argument):
    with pytest.raises(OptionError, match=f"{argument.partition('=')[0]}|--prec"):
        flags_for(argument)
