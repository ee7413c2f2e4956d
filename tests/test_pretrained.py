"""Weights that ship: found by name, loaded by path, refused in a line."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from refinable_nets import randomize
from trained_run import DIGITS, parse

from cnet_tf import checkpoint, continuous_net, presets, pretrained
from cnet_tf.paths import named_variables
from trainers import evaluate
from trainers.errors import OptionError
from trainers.fit import fit
from trainers.options import Options

X = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
SMALL = {"widths": (4,), "strides": (1,), "nodes": 2}


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A preset `tiny` with weights that ship."""
    monkeypatch.setattr(pretrained, "_WEIGHTS", tmp_path / "weights")
    settings = {**presets.PRESETS["digits"], **SMALL}
    monkeypatch.setitem(presets.PRESETS, "tiny", settings)
    net = randomize(continuous_net("tiny"))
    folder = tmp_path / "weights" / "tiny"
    checkpoint.save(net, folder / "net", {"data": DIGITS})
    return net


def test_a_preset_with_its_weights_is_the_trained_net(shipped):
    assert pretrained.shipped() == ["tiny"]
    net = continuous_net("tiny", weights="digits")
    np.testing.assert_array_equal(net(X), shipped(X))
    other = continuous_net("tiny", weights="digits", scheme="euler", steps=1)
    assert np.abs(other(X) - shipped(X)).max() > 1e-3


def test_with_other_classes_the_features_are_the_trained_ones(shipped):
    net = continuous_net("tiny", weights="digits", classes=3)
    assert net.output_shape == (None, 3)
    one, other = (n.get_layer("pool").output for n in (net, shipped))
    features = keras.Model(net.inputs, one)
    expected = keras.Model(shipped.inputs, other)
    np.testing.assert_array_equal(features(X), expected(X))


def test_a_name_stands_for_a_folder(shipped, tmp_path):
    folder = pretrained.run_directory("pretrained:tiny")
    assert folder == tmp_path / "weights" / "tiny"
    assert pretrained.is_shipped(folder) and not pretrained.is_shipped(tmp_path)
    assert str(pretrained.run_directory("runs/latest")) == "runs/latest"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "cifar10"}, "weights: expected 'digits', on which"),
        ({"weights": "digits", "nodes": 4}, "weights: expected a net with the shapes"),
        ({"weights": "digits", "widths": (6,)}, "weights: expected a net with the"),
    ],
)
def test_weights_that_do_not_fit_are_refused(shipped, arguments, message):
    with pytest.raises(ValueError, match=message):
        continuous_net("tiny", **arguments)
    with pytest.raises(ValueError, match="expected pretrained: and one of tiny"):
        continuous_net("digits", weights="digits")


def test_an_unknown_name_is_refused_with_those_that_ship(shipped):
    with pytest.raises(ValueError, match="Received 'pretrained:tinny'. Did you mean"):
        pretrained.run_directory("pretrained:tinny")
    with pytest.raises(
        OptionError, match="--run: expected the folder of a run, or pre"
    ):
        parse(["--run=pretrained:no"], evaluate.Options)


def test_a_net_that_ships_is_scored_beside_the_package(
    shipped, digits_dir, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = ["--run=pretrained:tiny", f"--data_dir={digits_dir}", "--examples=20"]
    more = ["--schemes=euler", "--steps=1", "--recalibration_batches=0"]
    evaluate.main(parse([*arguments, *more], evaluate.Options))
    assert (tmp_path / "evaluations" / "tiny" / "grid.csv").exists()
    assert [p.name for p in (tmp_path / "weights" / "tiny").iterdir()] == ["net"]


@pytest.mark.slow
def test_what_ships_is_whole():
    """Every shipped net loads as its preset, says its data, and has a card."""
    for name in pretrained.shipped():
        folder = pretrained.run_directory(f"pretrained:{name}")
        data = checkpoint.metadata(folder / "net")["data"]
        net = continuous_net(name, weights=data["name"])
        assert net.input_shape[1:] == tuple(data["image_shape"])
        assert all(np.isfinite(v).all() for v in net.get_weights())
        card = (folder / "card.md").read_text()
        assert "Licence" in card and data["name"] in card
        assert json.loads((folder / "net" / "net.json").read_text())["format"]


@pytest.fixture
def fine_tuning(shipped, digits_dir, tmp_path):
    return Options(
        data_dir=digits_dir,
        preset="tiny",
        weights="digits",
        epochs=1,
        batches_per_epoch=2,
        batch_size=32,
        runs_dir=str(tmp_path / "runs"),
        tensorboard=False,
        verbose=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", ["all", "head"])
def test_training_starts_from_the_weights_that_ship(fine_tuning, shipped, part):
    """The head alone learns, or all; features that stay keep their statistics too."""
    summary = fit(dataclasses.replace(fine_tuning, train_only=part))
    trained = named_variables(checkpoint.load(f"{summary['run']}/net").net)
    before = named_variables(shipped)
    moved = {p for p, v in trained.items() if np.any(np.array(v) != before[p])}
    assert {"head/kernel", "head/bias"} <= moved
    assert (len(moved) == 2) == (part == "head")


@pytest.mark.parametrize(
    ("names", "kept"), [("0123456789", True), ("abcdefghij", False)]
)
def test_the_head_is_of_the_classes_not_of_their_number(shipped, names, kept):
    trained = continuous_net("tiny", weights="digits")
    net = continuous_net("tiny")
    first = [np.array(v) for v in net.get_layer("head").variables]
    pretrained.load_weights(net, "tiny", "digits", list(names))
    head = trained.get_layer("head").variables if kept else first
    for value, expected in zip(net.get_layer("head").variables, head, strict=True):
        np.testing.assert_array_equal(value, expected)
    block = trained.get_layer("block_0").variables
    for value, other in zip(net.get_layer("block_0").variables, block, strict=True):
        np.testing.assert_array_equal(value, other)


def test_weights_that_do_not_fit_leave_no_run(fine_tuning, tmp_path):
    with pytest.raises(OptionError, match="--preset and its overrides: weights: exp"):
        fit(dataclasses.replace(fine_tuning, nodes=(4,)))
    assert not (tmp_path / "runs").exists()
