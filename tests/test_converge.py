"""The convergence test as a command: runs, files, plain nets; what it writes."""

import csv
import json

import keras
import pytest
from trained_run import DIGITS, SMALL, parse, save_run

from cnet_tf import continuous_net
from trainers import converge
from trainers.errors import OptionError

QUICK = ["--schemes=euler", "--factors=2", "--examples=8", "--batch_size=5"]


def converged(output, *arguments):
    options = parse([*QUICK, f"--output={output}", *arguments], converge.Options)
    converge.main(options)
    return json.loads((output / "convergence.json").read_text())


@pytest.mark.slow
def test_seeds_of_a_run_are_one_table(runs, digits_dir, tmp_path, capsys):
    other = save_run(tmp_path / "small-2", **SMALL)
    arguments = [f"--run={runs['small']},{other}", f"--data_dir={digits_dir}"]
    found = converged(tmp_path / "out", *arguments)
    assert [v["part"] for v in found["verdicts"]] == ["block_0", "whole net"]
    assert list(found["runs"]) == ["small-1", "small-2"]
    assert found["verdicts"][0]["labelled"] and found["images"] == 8
    with open(tmp_path / "out" / "convergence.csv") as file:
        rows = list(csv.DictReader(file))
    # Two runs of two parts with two schemes and two factors.
    assert len(rows) == 16
    trained = [row for row in rows if row["trained"] == "True"]
    assert {(row["scheme"], row["factor"]) for row in trained} == {("rk4", "1")}
    table = (tmp_path / "out" / "convergence.md").read_text()
    assert table in capsys.readouterr().out + "\n" and "small-1, small-2; 8" in table
    png = (tmp_path / "out" / "convergence.png").read_bytes()
    assert png.startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_plain_residual_net_of_a_file(tmp_path):
    net = continuous_net("resnet20_he", input_shape=(8, 8, 3))
    net.save(tmp_path / "mine.keras")
    arguments = [f"--model={tmp_path / 'mine.keras'}", "--mean=0.5", "--std=0.25"]
    found = converged(tmp_path / "out", *arguments, "--precision=float64")
    parts = [(v["part"], v["steps"]) for v in found["verdicts"]]
    assert parts == [
        ("chain_0", "3"),
        ("chain_1", "2"),
        ("chain_2", "2"),
        ("whole net", "3, 2, 2"),
    ]
    assert "generated images" in found["remarks"][0]
    assert not found["verdicts"][0]["labelled"]
    assert found["verdicts"][0]["scheme"] == "euler"


def test_a_run_without_its_data_and_another_manifestation(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    run = save_run(tmp_path / "run", data={**DIGITS, "name": "cifar10"}, **SMALL)
    found = converged(tmp_path / "out", f"--run={run}", "--manifestation=midpoint:2")
    assert found["verdicts"][0]["scheme"] == "midpoint"
    assert "same answers" in (tmp_path / "out" / "convergence.md").read_text()


@pytest.mark.slow
def test_norms_of_the_limit_are_a_column(runs, digits_dir, tmp_path):
    arguments = [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
    again = "--recalibration_batches=2"
    found = converged(tmp_path / "out", *arguments, again)["verdicts"]
    assert found[0]["recalibrated"] is None
    assert -1 <= found[1]["recalibrated"]["low"] <= found[1]["recalibrated"]["high"]
    table = (tmp_path / "out" / "convergence.md").read_text()
    assert "| recalibrated | verdict |" in table and "re-estimated there" in table
    converged(tmp_path / "plain", *arguments)
    assert "recalibrated" not in (tmp_path / "plain" / "convergence.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run=/nowhere"], "--run: /nowhere/net/net.json: expected a trained net"),
        (["--model=/nowhere.keras"], "--model: expected a .keras file"),
        (["--model=a.keras", "--run=b"], "--model: expected either a file or --run"),
        (["--mean=0.5"], "--mean: expected --model=my.keras with it"),
        (
            ["--model=a.keras", "--recalibration_batches=1"],
            "--recalibration_batches: expected 0 with --model. Received 1",
        ),
        (["--factors=0"], "--factors: expected numbers > 0, like 4 or 1/2"),
        (["--factors=1/0"], "--factors: expected numbers > 0, like 4 or 1/2"),
    ],
)
def test_what_cannot_be_judged_is_a_line(arguments, message, tmp_path):
    with pytest.raises(OptionError, match=f"^{message}"):
        converged(tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_nets_without_depth_are_refused(tmp_path):
    inputs = keras.Input((8, 8, 1))
    net = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    net.save(tmp_path / "flat.keras")
    with pytest.raises(OptionError, match="model: expected continuous blocks, or two"):
        converged(tmp_path / "out", f"--model={tmp_path / 'flat.keras'}")
    assert not (tmp_path / "out").exists()
