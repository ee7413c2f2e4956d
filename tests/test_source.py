"""The net that an export starts from: manifestations, projection, recalibration."""

import os

import numpy as np
import pytest
from trained_run import DIGITS, SMALL, copy_of_keras, files, parse, pixels, save_run

import cnet_tf
from cnet_tf import checkpoint
from cnet_tf.surgery import blocks_of
from export import saved_model, serving
from export.folding import FoldedBlock
from export.formats.table import FORMATS
from export.job import Job
from export.run import Run
from trainers.data import load_as_trained
from trainers.data.batches import train_batches
from trainers.data.errors import DataError
from trainers.errors import OptionError


@pytest.fixture
def load(runs, digits_dir, tmp_path):
    def build(*arguments, form="tflite"):
        shared = [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
        return Job.read(parse([*shared, *arguments]), FORMATS[form]).source

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
    "arguments, form, folded",
    [
        ([], "tflite", True),
        ([], "onnx", True),
        ([], "saved_model", False),
        (["--fold"], "saved_model", True),
        (["--nofold"], "tflite", False),
        (["--manifestations=euler:2"], "tflite", False),
    ],
)
def test_what_is_folded(load, arguments, form, folded):
    source = load(*arguments, form=form)
    kinds = {
        isinstance(graph.get_layer("block_0"), FoldedBlock)
        for graph in source.graphs.values()
    }
    assert kinds == {folded}


def test_a_smaller_basis_is_the_projection(tmp_path, load):
    run = save_run(tmp_path / "deep", nodes=4, **SMALL)
    source = load(f"--run={run}", "--basis_size=2")
    net = checkpoint.load(run / "net").net
    np.testing.assert_array_equal(
        _logits(source.net), _logits(cnet_tf.project(net, nodes=2, steps=4))
    )
    assert source.net.count_params() < net.count_params()
    assert blocks_of(source.net)[0].steps == 4


@pytest.mark.slow
def test_long_steps_read_theta_as_asked(tmp_path, load):
    run = save_run(tmp_path / "deep", nodes=4, **SMALL)
    net = checkpoint.load(run / "net").net
    flags = f"--run={run}", "--scheme=rk4", "--steps=1"
    for reading in ("average", "quadrature", "point"):
        expected = cnet_tf.manifest(net, "rk4", 1, restriction=reading)
        source = load(*flags, f"--restriction={reading}")
        np.testing.assert_array_equal(_logits(source.net), _logits(expected))
        assert source.changes == (f"fewer steps than cells read theta by {reading}",)
    assert load(*flags).changes == ()


def test_steps_of_a_loop_are_unrolled(tmp_path):
    run = save_run(tmp_path / "loop", nodes=2, **SMALL)
    saved = checkpoint.load(run / "net")
    looped = cnet_tf.manifest(saved.net, unroll=False)
    checkpoint.save(looped, run / "net", saved.metadata)
    net = Run(run).read().net
    assert all(block.unroll for block in blocks_of(net))
    np.testing.assert_allclose(_logits(net), _logits(looped), rtol=1e-5, atol=1e-5)


def test_recalibration_is_on_the_training_images(tmp_path, load, digits_dir):
    run = save_run(tmp_path / "run", data={**DIGITS, "augment": "crop"}, **SMALL)
    source = load(f"--run={run}", "--recalibrate=3", "--steps=2")
    net = copy_of_keras(run, "rk4", 2)
    before = _logits(net)
    data = load_as_trained(DIGITS, digits_dir)
    batches = train_batches(data, 128, seed=0, epoch=0, augment="crop").take(3)
    expected = _logits(cnet_tf.recalibrated(net, batches))
    np.testing.assert_array_equal(_logits(source.net), expected)
    assert np.abs(expected - before).max() > 0.01


@pytest.mark.slow
def test_recalibration_leaves_the_net_it_starts_from_alone(runs, digits_dir):
    """So that a report reads the checkpoint once for all manifestations."""
    source = Run(runs["small"]).read()
    data = load_as_trained(source.data, digits_dir)
    before = _logits(source.net)
    one, again = (source.manifested("euler", 2).recalibrated(data, 2) for _ in range(2))
    np.testing.assert_array_equal(_logits(source.net), before)
    np.testing.assert_array_equal(_logits(one.net), _logits(again.net))
    assert np.abs(_logits(one.net) - _logits(source.manifested("euler", 2).net)).max()
    with pytest.raises(ValueError, match="too many values"):
        source.manifested(others=[("euler", 2)]).recalibrated(data, 2)


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
    changes = "--basis_size=1", "--restriction=point", "--steps=2"
    for flag in (*changes, "--manifestations=euler:1"):
        with pytest.raises(OptionError, match="depth is fixed"):
            load(f"--run={run}", flag)


@pytest.fixture
def flags_for(export_flags):
    return export_flags(saved_model.Options)


@pytest.mark.parametrize(
    "preset, overrides, name",
    [
        ("digits", {"nodes": (1, 2, 2), "scheme": "euler"}, "euler-1_euler-2_euler-2"),
        ("digits", {"nodes": 2}, "rk4-2"),
        ("resnet20", {"blocks_per_stage": 1}, "resnet"),
    ],
)
def test_names_of_manifestations(tmp_path, preset, overrides, name):
    run = save_run(tmp_path / "other", preset, **overrides)
    assert Run(run).read().name == name


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_precisions_are_exported_in_float32(runs, tmp_path, policy):
    run = save_run(tmp_path / "other", **SMALL, dtype=policy)
    net = Run(run).read().manifested(steps=2).net
    wide = copy_of_keras(runs["small"], "rk4", 2)
    wide.set_weights(net.get_weights())
    np.testing.assert_array_equal(
        serving.keras_logits(net, DIGITS)(pixels(3)),
        serving.keras_logits(wide, DIGITS)(pixels(3)),
    )


def _truncate(run):
    (weights,) = (run / "net").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])


@pytest.mark.parametrize(
    "damage, message",
    [
        (_truncate, "--run: .*checksum"),
        (lambda run: (run / "net" / "net.json").write_text("{"), "--run: .*readable"),
        (
            lambda run: (run / "net" / "net.json").unlink(),
            "--run: .*repeat its command, or train another with",
        ),
        (
            lambda run: save_run(run, data={**DIGITS, "image_shape": [9, 8, 1]}),
            r"--run: .*image_shape: expected that of the net, \(8, 8, 1\). Received",
        ),
        (lambda run: save_run(run, data={}), "--run: .*name: expected an entry of its"),
    ],
)
def test_bad_runs_are_refused(tmp_path, flags_for, damage, message):
    run = save_run(tmp_path / "bad", **SMALL)
    damage(run)
    before = files(tmp_path)
    with pytest.raises(OptionError, match=message) as caught:
        saved_model.main(flags_for(f"--run={run}"))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def test_an_output_below_a_file_is_refused(tmp_path, flags_for):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="--output: expected a folder.*Received"):
        saved_model.main(flags_for(f"--output={tmp_path / 'file' / 'out'}"))
    assert os.listdir(tmp_path) == ["file"]


def test_steps_for_a_net_of_one_manifestation_are_refused(tmp_path, flags_for):
    run = save_run(tmp_path / "resnet", "resnet20", blocks_per_stage=1)
    with pytest.raises(OptionError, match="--scheme, --steps, .*depth is fixed"):
        saved_model.main(flags_for(f"--run={run}", "--steps=2"))


def test_other_data_than_the_runs_are_refused(tmp_path, flags_for):
    renamed = {**DIGITS, "class_names": [*"abcdefghij"]}
    run = save_run(tmp_path / "renamed", data=renamed, **SMALL)
    with pytest.raises(DataError, match="data_dir: .*10: a, b.*Received 10: 0"):
        saved_model.main(flags_for(f"--run={run}"))
    gone = {**DIGITS, "name": "folder:/nowhere"}
    run = save_run(tmp_path / "gone", data=gone, **SMALL)
    with pytest.raises(DataError, match="folder:/nowhere"):
        saved_model.main(flags_for(f"--run={run}"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--fold"], "--fold: expected one manifestation"),
        (["--recalibrate=2"], "--recalibrate: expected one manifestation"),
    ],
)
def test_what_cannot_be_shared_is_refused(flags_for, arguments, message):
    with pytest.raises(OptionError, match=message):
        saved_model.main(flags_for("--manifestations=euler:2", *arguments))


def test_a_net_of_any_size_is_exported_for_the_images_of_its_run(tmp_path):
    run = save_run(tmp_path / "free", shape=(None, None, 1))
    source = Run(run).read()
    assert source.net.input_shape == (None, 8, 8, 1)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(source.net(x), checkpoint.load(run / "net").net(x))
