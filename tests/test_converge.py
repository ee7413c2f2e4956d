"""The convergence test as a command: runs, files, plain nets; what it writes."""

import csv
import json

import keras
import numpy as np
import pytest
from markdown_tables import cells_of
from trained_run import DIGITS, SMALL, parse, save_run

from cnet_tf import ContinuousBlock, continuous_net
from trainers import converge, inside
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
    text = (tmp_path / "out" / "convergence.md").read_text()
    assert cells_of(text)[0][-2:] == ["recalibrated", "verdict"]
    assert "re-estimated there" in text
    converged(tmp_path / "plain", *arguments)
    assert "recalibrated" not in (tmp_path / "plain" / "convergence.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run=/nowhere"], "--run: /nowhere/net/net.json: expected a trained net"),
        (["--model=/nowhere.keras"], "--model: expected a .keras file"),
        (["--model=a.keras", "--run=b"], "--model: expected either a file or --run"),
        (["--mean=0.5"], "--mean: expected --model=my.keras with it"),
        (["--inputs=a.npy"], "--inputs: expected --model=my.keras with it"),
        (
            ["--model=a.keras", "--inputs=a.npy", "--mean=0.5"],
            "--mean: expected none with --inputs",
        ),
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


@pytest.fixture
def of_features(tmp_path):
    """A model of no images, and inputs and labels for it."""
    unit = keras.Sequential([keras.layers.Dense(9, "tanh"), keras.layers.Dense(4)])
    block = ContinuousBlock(unit, nodes=2, scheme="midpoint", name="block")
    net = keras.Sequential([keras.Input((4,)), block, keras.layers.Dense(3)])
    net.save(tmp_path / "my.keras")
    x = np.random.default_rng(0).normal(size=(12, 4))
    np.savez(tmp_path / "my.npz", x=x, y=np.arange(12) % 3)
    np.save(tmp_path / "my.npy", x)
    return tmp_path


def test_a_model_of_anything_on_inputs_of_ones_own(of_features, capsys):
    model, name = f"--model={of_features / 'my.keras'}", of_features / "my.npz"
    found = converged(of_features / "out", model, f"--inputs={name}")
    assert [v["part"] for v in found["verdicts"]] == ["block", "whole net"]
    assert found["verdicts"][0]["labelled"] and found["images"] == 8
    assert found["remarks"] == [f"On inputs of {name}."]
    again = [model, f"--inputs={of_features / 'my.npy'}"]
    found = converged(of_features / "more", *again, "--examples=100")
    assert not found["verdicts"][0]["labelled"] and found["images"] == 12
    inside.main(parse([*again, f"--output={of_features / 'inside'}"], inside.Options))
    assert (of_features / "inside" / "theta.png").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.zeros((3, 5))},
            r"inputs \(examples, 4,\). Received x of shape \(3, 5",
        ),
        (
            {"x": np.zeros((0, 4))},
            r"inputs \(examples, 4,\). Received x of shape \(0, 4",
        ),
        ({"x": np.full((3, 4), np.nan)}, "finite numbers"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(2, int)}, "3 integer labels y"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(3)}, "3 integer labels y"),
        ({"z": np.zeros((3, 4))}, "a .npy of inputs, or a .npz"),
        ({"x": np.array([None] * 3)}, "a .npy of inputs, or a .npz"),
        (None, "a .npy of inputs, or a .npz"),
    ],
)
def test_inputs_that_do_not_fit_are_a_line(of_features, arrays, message):
    path = of_features / "other.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    arguments = f"--model={of_features / 'my.keras'}", f"--inputs={path}"
    with pytest.raises(OptionError, match=f"^--inputs: expected {message}") as error:
        converged(of_features / "out", *arguments)
    assert "\n" not in str(error.value) and not (of_features / "out").exists()


def test_nets_without_depth_are_refused(tmp_path):
    inputs = keras.Input((8, 8, 1))
    net = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    net.save(tmp_path / "flat.keras")
    with pytest.raises(OptionError, match="model: expected continuous blocks, or two"):
        converged(tmp_path / "out", f"--model={tmp_path / 'flat.keras'}")
    assert not (tmp_path / "out").exists()
