"""The grid of manifestations: right cells, right scores, nothing changed."""

import csv

import numpy as np
import pytest
from keras import ops

from cnet_tf import checkpoint, continuous_net, manifest, recalibrate, recalibrated
from cnet_tf.any_depth import with_members
from cnet_tf.manifestation import restore_statistics, statistics
from cnet_tf.surgery import normalizations
from trainers import data as image_data
from trainers import grid
from trainers.data.batches import eval_batches, train_batches
from trainers.steps import evaluate


@pytest.fixture(scope="module")
def data(digits_dir):
    return image_data.load("digits", str(digits_dir))


@pytest.fixture(scope="module")
def scored(data):
    net = continuous_net("digits", nodes=2, scheme="midpoint")
    before = [ops.convert_to_numpy(v) for v in net.variables]
    schemes = "euler", "rk4"
    wanted = grid.Grid(schemes, (1, 4), examples=100, recalibration_batches=2)
    rows = grid.scored(net, data, wanted)
    return net, before, rows


def test_every_cell_and_the_trained_one(scored):
    _, _, rows = scored
    cells = [(row["scheme"], row["steps"]) for row in rows]
    assert cells == [
        ("euler", 1),
        ("euler", 4),
        ("rk4", 1),
        ("rk4", 4),
        ("midpoint", 2),
    ]
    assert [row["trained"] for row in rows] == [False] * 4 + [True]
    assert [row["evaluations"] for row in rows] == [1, 4, 4, 16, 4]


def test_scores_are_those_of_the_manifestation(scored, data):
    net, _, rows = scored
    batches = eval_batches(data, "test", 100).take(1)
    direct = evaluate(manifest(net, "rk4", 4), batches)
    (row,) = [r for r in rows if (r["scheme"], r["steps"]) == ("rk4", 4)]
    assert row["accuracy"] == direct["accuracy"]
    np.testing.assert_allclose(row["loss"], direct["loss"], rtol=1e-5)


def test_recalibrated_scores_are_those_of_the_recalibrated_twin(data):
    net = continuous_net("digits", widths=(4,), strides=(1,), nodes=2)
    for norm in normalizations(net):
        mean, variance = norm.moving_mean.variable, norm.moving_variance.variable
        mean.assign(np.random.default_rng(0).normal(size=mean.shape))
        variance.assign(variance * np.geomspace(1e-2, 1e2, variance.shape[-1]))
    wanted = grid.Grid((), (), examples=300, recalibration_batches=2)
    examples, images = grid.scored_images(data, wanted)
    found = grid.accuracies(net, examples, images)
    twin = recalibrated(net, images)
    assert found["accuracy"] == evaluate(net, examples)["accuracy"]
    assert found["recalibrated_accuracy"] == evaluate(twin, examples)["accuracy"]
    assert found["recalibrated_accuracy"] != found["accuracy"]
    assert grid.accuracies(net, examples, None)["recalibrated_accuracy"] is None


@pytest.mark.parametrize(
    ("steps", "restriction", "trained"),
    [(1, None, True), (1, "average", True), (1, "point", False), (2, "point", True)],
)
def test_what_reads_theta_otherwise_did_not_learn_so(data, steps, restriction, trained):
    net = continuous_net("digits", widths=(4,), strides=(1,), nodes=2, steps=steps)
    wanted = grid.Grid((), (), "test", 20, 0, restriction=restriction)
    (row,) = grid.scored(net, data, wanted)
    assert row["trained"] == trained
    assert (row["examples"], row["restriction"]) == (20, restriction)
    whole = grid.Grid((), (), "test", 10**6, 0)
    assert grid._part(data, whole) is grid._part(data, grid.Grid((), ())) is None


def test_nothing_changed(scored):
    net, before, _ = scored
    for old, new in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))


def test_a_net_of_fixed_depth_has_one_cell(data):
    net = continuous_net("resnet20", input_shape=(8, 8, 1))
    wanted = grid.Grid(("euler",), (1,), examples=20, recalibration_batches=0)
    rows = grid.scored(net, data, wanted)
    assert len(rows) == 1 and rows[0]["trained"]
    assert "fixed" in grid.markdown(rows)


def test_files(scored):
    _, _, rows = scored
    files = grid.contents(rows, "Of other data.")
    assert set(files) == {"grid.csv", "grid.md", "grid.png"}
    lines = files["grid.csv"].decode().splitlines()
    assert len(list(csv.DictReader(lines))) == 5
    table = files["grid.md"].decode()
    assert table.count(" *") >= 1 and "| midpoint |" in table
    assert "Of other data." in table
    assert files["grid.png"].startswith(b"\x89PNG")


@pytest.mark.slow
def test_recalibration_on_training_images_keeps_a_trained_net(data, tmp_path):
    """Statistics of other images would not: augmentation is part of training."""
    from trainers import fit
    from trainers.options import Options

    options = Options(
        data_dir=str(tmp_path / "tfds"),
        scheme="euler",
        epochs=6,
        augment="crop",
        learning_rate=0.05,
        runs_dir=str(tmp_path / "runs"),
        tensorboard=False,
        verbose=0,
    )
    run = fit.fit(options)["run"]
    trained = checkpoint.load(f"{run}/net")
    assert trained.metadata["data"]["augment"] == "crop"
    losses = {}
    for augment in ("crop", "none"):
        train = train_batches(data, 256, 0, 0, augment)
        kept = statistics(trained.net)
        recalibrate(trained.net, train)
        losses[augment] = evaluate(trained.net, train_batches(data, 256, 0, 9, "crop"))
        restore_statistics(trained.net, kept)
    own = evaluate(trained.net, train_batches(data, 256, 0, 9, "crop"))
    assert abs(losses["crop"]["loss"] - own["loss"]) < 0.3 * own["loss"]
    assert losses["none"]["loss"] > losses["crop"]["loss"]


def test_members_of_an_any_depth_net_are_cells_that_learned(data):
    net = with_members(continuous_net("digits", nodes=2), ["euler:1", "midpoint:1"])
    wanted = grid.Grid(("euler",), (1, 2), examples=20, recalibration_batches=0)
    rows = grid.scored(net, data, wanted)
    cells = {(row["scheme"], row["steps"]): row["trained"] for row in rows}
    assert cells == {
        ("euler", 1): True,
        ("euler", 2): False,
        ("rk4", 2): True,
        ("midpoint", 1): True,
    }
