"""A net without finite numbers is a failure of its own, and no export is made of it."""

import json
import math
import pathlib

import numpy as np
import pytest

from export import parity
from trainers import errors, fit, grid, training
from trainers.steps import accuracy_of
from trainers.summary import Unusable


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_training_that_ends_without_a_finite_loss_fails(short_run, monkeypatch, loss):
    options = short_run(epochs=1, batches_per_epoch=1, validation_fraction=0.0)
    monkeypatch.setattr(
        training.Training, "score", lambda *_: {"loss": loss, "accuracy": 0.1}
    )
    message = (
        f"test loss is finite. Received {loss:g} from euler with N = 1, hor.* kept in"
    )
    with pytest.raises(Unusable, match=message) as error:
        fit.fit(options)
    assert "\n" not in str(error.value)
    summary = pathlib.Path(options.runs_dir, "latest", "summary.json")
    assert json.loads(summary.read_text())["test_accuracy"] == 0.1  # It has ended.


@pytest.mark.parametrize("failure", [Unusable("x"), parity.UnusableNet("x")])
def test_it_has_an_exit_status_of_its_own(failure, monkeypatch, capsys):
    def main():
        raise failure

    monkeypatch.setattr(errors.app, "run", lambda main, flags_parser: main([]))
    monkeypatch.setattr(errors, "_end_on_signals", lambda: None)
    with pytest.raises(SystemExit) as stop:
        errors.run_command(main, [Unusable, parity.ParityError])
    assert stop.value.code == 3
    assert capsys.readouterr().err == "error: x\n"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_export_is_made_of_it(bad):
    images = np.zeros((9, 2, 2, 1), np.uint8)

    def logits(batch):
        found = np.zeros((len(batch), 3))
        found[0, 1] = bad
        return found

    def candidate(batch):
        return {"logits": logits(batch), "label": np.zeros(len(batch), int)}

    parity.check_usable("euler-4", np.zeros((3, 10)))
    with pytest.raises(
        parity.UnusableNet, match="finite logits.*euler-4, which.* 1 of"
    ):
        parity.check_usable("euler-4", logits(images))
    with pytest.raises(parity.UnusableNet, match="is unusable") as error:
        parity.compare(logits, candidate, images, np.zeros(9, int))
    assert "please report" not in str(error.value)


def test_the_grid_shows_no_accuracy_of_it(monkeypatch):
    """Of NaN the largest is the first, which is right for a tenth of the digits."""
    row = {"scheme": "rk4", "steps": 1, "trained": True, "recalibrated_accuracy": None}
    row["accuracy"] = accuracy_of({"loss": math.nan, "accuracy": 0.1})
    assert "| not finite * |" in grid.markdown([row])
    assert grid.line(row) == "rk4 N=1: not finite"
    assert accuracy_of({"loss": 0.5, "accuracy": 0.1}) == 0.1
