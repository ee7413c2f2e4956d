"""The net that an export starts from: manifestations, projection, recalibration."""

import numpy as np
import pytest
from trained_run import DIGITS, SMALL, copy_of_keras, parse, pixels, save_run

import cnet_tf
from cnet_tf import checkpoint
from export import serving, trained
from export.folding import FoldedNet
from trainers.batches import train_batches
from trainers.data import load_as_trained
from trainers.errors import OptionError


@pytest.fixture
def load(runs, digits_dir, tmp_path):
    def build(*arguments, **settings):
        shared = [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
        return trained.load(parse([*shared, *arguments]), **settings)[0]

    return build


def _logits(net):
    return serving.keras_logits(net, DIGITS)(pixels(4))


def test_manifestations_share_their_variables(runs, load):
    source = load("--steps=2", "--manifestations=euler:3,midpoint:1")
    assert list(source.nets) == ["serving_default", "euler_3", "midpoint_1"]
    assert source.graphs is source.nets
    ids = [{id(v) for v in net.variables} for net in source.nets.values()]
    assert ids[0] == ids[1] == ids[2]
    expected = _logits(copy_of_keras(runs["small"], "euler", 3))
    np.testing.assert_array_equal(_logits(source.nets["euler_3"]), expected)


@pytest.mark.parametrize(
    "arguments, by_default, folded",
    [
        ([], True, True),
        ([], False, False),
        (["--fold"], False, True),
        (["--nofold"], True, False),
        (["--manifestations=euler:2"], True, False),
    ],
)
def test_what_is_folded(load, arguments, by_default, folded):
    source = load(*arguments, fold_by_default=by_default)
    kinds = {isinstance(graph, FoldedNet) for graph in source.graphs.values()}
    assert kinds == {folded}


def test_a_smaller_basis_is_the_projection(tmp_path, load):
    run = save_run(tmp_path / "deep", nodes=4, **SMALL)
    source = load(f"--run={run}", "--basis_size=2")
    net = checkpoint.load(run / "net").net
    np.testing.assert_array_equal(
        _logits(source.net), _logits(cnet_tf.project(net, nodes=2, steps=4))
    )
    assert source.net.count_params() < net.count_params()
    assert source.net.blocks[0].steps == 4


def test_recalibration_is_on_the_training_images(tmp_path, load, digits_dir):
    run = save_run(tmp_path / "run", data={**DIGITS, "augment": "crop"}, **SMALL)
    source = load(f"--run={run}", "--recalibrate=3", "--steps=2")
    net = copy_of_keras(run, "rk4", 2)
    before = _logits(net)
    data = load_as_trained(DIGITS, digits_dir)
    batches = train_batches(data, 128, seed=0, epoch=0, augment="crop").take(3)
    assert cnet_tf.recalibrate(net, batches) == 3
    np.testing.assert_array_equal(_logits(source.net), _logits(net))
    assert np.abs(_logits(net) - before).max() > 0.01


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--basis_size=2"], "--basis_size: expected at most K = 1. Received 2"),
        (["--manifestations=euler:1", "--fold"], "--fold: expected one manifestation"),
        (
            ["--manifestations=euler:1", "--recalibrate=1"],
            "--recalibrate: expected one",
        ),
    ],
)
def test_what_cannot_be_is_refused(load, arguments, message):
    with pytest.raises(OptionError, match=message):
        load(*arguments)


def test_a_net_of_fixed_depth_has_no_basis(tmp_path, load):
    run = save_run(tmp_path / "resnet", "resnet20", blocks_per_stage=1)
    for flag in ("--basis_size=1", "--steps=2", "--manifestations=euler:1"):
        with pytest.raises(OptionError, match="depth is fixed"):
            load(f"--run={run}", flag)
