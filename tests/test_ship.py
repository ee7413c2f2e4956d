"""A run becomes weights that ship."""

import errno
import json

import numpy as np
import pytest
from trained_run import DIGITS, parse, save_run

from cnet_tf import checkpoint, continuous_net, manifest, pretrained
from cnet_tf.any_depth import member_read
from cnet_tf.presets import PRESETS
from trainers import ship
from trainers.errors import OptionError

X = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


def options(run, preset):
    arguments = [f"--run={run}", f"--preset={preset}", "--recipe=First A, then B."]
    return parse(arguments, ship.Options)


@pytest.mark.slow
def test_a_run_that_was_shipped_is_found_by_its_preset(runs, weights):
    run = runs["digits"]
    (run / "summary.json").write_text(json.dumps({"test_accuracy": 0.5}))
    (run / "evaluation").mkdir()
    (run / "evaluation" / "grid.md").write_text("| scheme | N = 1 |\n")
    (run / "evaluation" / "grid.csv").write_text("scheme,steps\n")
    folder = ship.main(options(run, "digits"))
    assert folder == weights / "digits" and pretrained.shipped() == ["digits"]
    net = continuous_net("digits", weights="digits")
    np.testing.assert_array_equal(net(X), checkpoint.load(run / "net").net(X))
    card = (folder / "card.md").read_text()
    for words in ("50.00 %", "| scheme |", "First A, then B.", "Apache-2.0", "digits"):
        assert words in card
    assert (folder / "summary.json").is_file()
    assert (folder / "evaluation" / "grid.csv").read_text() == "scheme,steps\n"


def test_where_data_and_runs_were_is_not_shipped(tmp_path, weights):
    data = {**DIGITS, "found_in": "/home/me/data"}
    run = save_run(tmp_path / "run", data=data)
    (run / "flags.txt").write_text(
        f"--runs_dir={tmp_path}\n--model=/home/me/nets/run/net\n"
    )
    (run / "summary.json").write_text(json.dumps({"run": str(run)}))
    folder = ship.main(options(run, "digits"))
    flags = (folder / "flags.txt").read_text()
    assert flags == "--runs_dir=runs\n--model=models/net\n"
    assert json.loads((folder / "summary.json").read_text()) == {"run": "runs/run"}
    assert checkpoint.metadata(folder / "net")["data"] == DIGITS


def test_records_of_strangers_do_not_reach_the_card(tmp_path, weights):
    run = save_run(tmp_path / "run")
    found = {"test_accuracy": "<script>", "train_seconds": [], "cores": "<b>"}
    for name in ("summary.json", "environment.json"):
        (run / name).write_text(json.dumps({**found, "test_accuracy_of_members": 1}))
    card = (ship.main(options(run, "digits")) / "card.md").read_text()
    assert "<" not in card and "0 minutes of training on &lt;b&gt; cores" in card


@pytest.mark.parametrize(
    ("accelerators", "where"),
    [([], "2 cores of C"), (["H200", "<b>"], "H200, &lt;b&gt;"), (7, "2 cores of C")],
)
def test_a_card_names_what_trained_the_net(tmp_path, weights, accelerators, where):
    run = save_run(tmp_path / "run")
    found = {"cores": 2, "processor": "C", "accelerators": accelerators}
    (run / "environment.json").write_text(json.dumps(found))
    card = (ship.main(options(run, "digits")) / "card.md").read_text()
    assert f"0 minutes of training on {where}." in card


def test_a_full_disk_is_a_line(runs, weights, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ship, "write_bytes", full)
    with pytest.raises(OptionError, match="--preset: expected a folder .* No space"):
        ship.main(options(runs["digits"], "digits"))


def test_a_net_of_another_preset_is_not_shipped(runs, weights):
    with pytest.raises(OptionError, match="--preset: expected the net of 'digits'"):
        ship.main(options(runs["small"], "digits"))
    assert not weights.exists()


@pytest.mark.slow
def test_members_get_statistics_of_each_evaluation(
    tmp_path, weights, digits_dir, monkeypatch
):
    run = save_run(tmp_path / "run", nodes=2, members=["midpoint:1"])
    net = checkpoint.load(run / "net").net
    monkeypatch.setattr(ship, "_check", lambda net, preset: None)
    flags = [f"--run={run}", "--preset=digits", f"--data_dir={digits_dir}"]
    ship.main(parse([*flags, "--recalibrate=2"], ship.Options))
    new = checkpoint.load(weights / "digits" / "net").net
    np.testing.assert_array_equal(new(X), net(X))
    one, other = (manifest(model, "midpoint", 1)(X) for model in (net, new))
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.slow
def test_the_net_of_a_preset_that_is_its_own_member_is_recalibrated(
    tmp_path, weights, digits_dir, monkeypatch
):
    form = {"nodes": 2, "scheme": "midpoint"}
    wanted = {**PRESETS["digits"], **form, "members": ("midpoint:2",), "depth_cells": 4}
    monkeypatch.setitem(PRESETS, "digits", wanted)
    run = save_run(tmp_path / "run", **form)
    flags = [f"--run={run}", "--preset=digits", f"--data_dir={digits_dir}"]
    ship.main(parse([*flags, "--recalibrate=2"], ship.Options))
    old, new = (
        checkpoint.load(folder / "net").net for folder in (run, weights / "digits")
    )
    assert member_read(new) == member_read(continuous_net("digits")) == "midpoint:2"
    assert np.abs(new(X) - old(X)).max() > 1e-3
    scores = json.loads((weights / "digits" / "summary.json").read_text())
    card = (weights / "digits" / "card.md").read_text()
    assert f"as it ships: the whole {100 * scores['test_accuracy']:.2f} %" in card
    # What is no member reads moments along depth.
    one, other = (manifest(model, "rk4", 2)(X) for model in (new, old))
    assert np.abs(one - other).max() > 1e-3
