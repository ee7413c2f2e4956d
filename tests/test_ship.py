"""A run becomes weights that ship."""

import json

import numpy as np
import pytest
from trained_run import parse

from cnet_tf import checkpoint, continuous_net, pretrained
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


def test_a_run_that_was_shipped_is_found_by_its_preset(runs, weights):
    run = runs["digits"]
    (run / "summary.json").write_text(json.dumps({"test_accuracy": 0.5}))
    (run / "evaluation").mkdir()
    (run / "evaluation" / "grid.md").write_text("| scheme | N = 1 |\n")
    folder = ship.main(options(run, "digits"))
    assert folder == weights / "digits" and pretrained.shipped() == ["digits"]
    net = continuous_net("digits", weights="digits")
    np.testing.assert_array_equal(net(X), checkpoint.load(run / "net").net(X))
    card = (folder / "card.md").read_text()
    for words in ("50.00 %", "| scheme |", "First A, then B.", "Apache-2.0", "digits"):
        assert words in card
    assert (folder / "summary.json").is_file()


def test_a_net_of_another_preset_is_not_shipped(runs, weights):
    with pytest.raises(OptionError, match="--preset: expected the net of 'digits'"):
        ship.main(options(runs["small"], "digits"))
    assert not weights.exists()
