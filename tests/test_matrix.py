"""The matrix trained x tested: its cells are the manifestations, nothing changes."""

import csv
import dataclasses

import numpy as np
import pytest
from markdown_tables import cells_of
from trained_run import parse, save_run

from cnet_tf import checkpoint, continuous_net, manifest
from cnet_tf.any_depth import with_members
from trainers import grid, matrix, matrix_report, trained_net
from trainers.errors import OptionError

NARROW = {"widths": (4,), "strides": (1,), "nodes": 2}
OPTIONS = matrix.Options(examples=40, recalibration_batches=1, nodes=(1,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    save_run(folder / "a", scheme="euler", **NARROW)
    save_run(folder / "b", scheme="midpoint", steps=1, **NARROW)
    return folder


@pytest.fixture(scope="module")
def rows(folder, digits):
    options = dataclasses.replace(OPTIONS, readings=("average", "point"))
    runs = [matrix.read(folder / name) for name in "ab"]
    columns = [(run.scheme, run.steps) for run in runs]
    before = [run.net.get_weights() for run in runs]
    found = [matrix.scored(run, digits, columns, options) for run in runs]
    for run, weights in zip(runs, before, strict=True):
        for old, new in zip(weights, run.net.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    return runs, found


def test_every_run_is_tested_as_every_other(rows):
    _, (first, second) = rows
    for found in (first, second):
        plain = [r for r in found if r["nodes"] is None]
        # Steps across cells, those of midpoint:1, are read in both ways; all are
        # recalibrated too.
        cells = {
            (r["scheme"], r["steps"], r["reading"], r["statistics"]) for r in plain
        }
        assert len(plain) == len(cells) == 6
        assert {s for _, s, reading, _ in cells if reading == "point"} == {1}
        assert sum(r["nodes"] == 1 for r in found) == 2
    assert {r["trained_scheme"] for r in second} == {"midpoint"}


def test_cells_are_scores_of_the_manifestation(rows, digits):
    (first, _), (found, _) = rows
    images = grid.scored_images(digits, grid.Grid((), (), "test", 40, 0))
    expected = {
        reading: grid.accuracies(
            manifest(first.net, "midpoint", 1, restriction=reading), *images
        )["accuracy"]
        for reading in ("average", "point")
    }
    for row in found:
        cell = row["scheme"], row["steps"], row["statistics"], row["nodes"]
        if cell == ("midpoint", 1, "as trained", None):
            assert row["accuracy"] == expected[row["reading"]]


def test_a_cell_is_as_trained_where_theta_is_read_so_too(rows):
    _, (first, second) = rows
    for found, own in ((first, ("euler", 2)), (second, ("midpoint", 1))):
        for row in found:
            cell = row["scheme"], row["steps"]
            assert row["trained"] == (cell == own and row["reading"] == "average")
    assert sum(row["reading"] == "point" for row in second) > 0


def test_tables_and_picture(rows):
    _, found = rows
    written = matrix_report.files(sum(found, []), ("Of other images.", ""))
    assert set(written) == {"matrix.csv", "matrix.md", "matrix.png"}
    table = written["matrix.md"].decode()
    cells = cells_of(table)
    assert sum(row[:2] == ["a", "euler:2"] for row in cells) == 5
    assert any("K' = 1, recalibrated" in row for row in cells)
    assert table.endswith("Of other images.\n") and " * |" in table
    assert len(list(csv.reader(written["matrix.csv"].decode().splitlines()))) == 17
    assert written["matrix.png"].startswith(b"\x89PNG")


def test_members_are_scored_with_norms_shared_and_private(digits, monkeypatch):
    net = with_members(continuous_net("digits", **NARROW), ["euler:1"])
    for v in net.variables:
        if "moving_mean_euler_1" in v.path:
            v.assign(v + 1.0)
    x = np.ones((1, 8, 8, 1), "float32")

    def output(net):
        return float(np.abs(net(x)).sum())

    def accuracies(net, *_):
        return {"accuracy": output(net), "recalibrated_accuracy": None}

    monkeypatch.setattr(grid, "accuracies", accuracies)
    trained = matrix.Trained("m", net, {}, "rk4", 2)
    options = dataclasses.replace(OPTIONS, nodes=(), recalibration_batches=0)
    found = matrix.scored(trained, digits, [("euler", 1), ("rk4", 2)], options)
    shared, private, own = (r["accuracy"] for r in found)
    assert [r["statistics"] for r in found] == ["as trained", "private", "as trained"]
    assert private == output(manifest(net, "euler", 1)) != shared
    assert own == output(net)


def test_forms_of_a_member_read_what_manifest_has_them_read(digits, monkeypatch):
    """Not the norms of the member that the net is."""
    net = with_members(continuous_net("digits", **NARROW), ["euler:1", "rk4:2"])
    for v in net.variables:
        if "moving_mean_rk4_2" in v.path:
            v.assign(v + 1.0)
    net = manifest(net, "rk4", 2)
    x = np.ones((1, 8, 8, 1), "float32")
    scores = {}

    def accuracies(net, *_):
        return {"accuracy": float(np.abs(net(x)).sum()), "recalibrated_accuracy": None}

    monkeypatch.setattr(grid, "accuracies", accuracies)
    trained = matrix.Trained("m", net, {}, "rk4", 2)
    options = dataclasses.replace(OPTIONS, nodes=(), recalibration_batches=0)
    for row in matrix.scored(trained, digits, [("midpoint", 2), ("rk4", 2)], options):
        scores[row["scheme"], row["statistics"]] = row["accuracy"]
    for scheme, statistics in (("midpoint", "as trained"), ("rk4", "private")):
        expected = accuracies(manifest(net, scheme, 2))["accuracy"]
        assert scores[scheme, statistics] == expected
    assert scores["rk4", "as trained"] != scores["rk4", "private"]


def test_runs_of_one_name_are_told_apart(folder, digits, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "best").symlink_to(folder / name)
    paths = [tmp_path / "a" / "best", tmp_path / "b" / "best"]
    runs = [dataclasses.replace(matrix.read(path), name="best") for path in paths]
    found = trained_net.distinct(runs, paths)
    assert [run.name for run in found] == [str(path) for path in paths]
    assert trained_net.distinct(runs[:1], paths[:1]) == runs[:1]
    rows = [r for run in found for r in matrix.scored(run, digits, [], OPTIONS)]
    table = matrix_report.markdown(rows)
    assert all(str(path) in table for path in paths)


def test_as_a_command(folder, digits_dir, tmp_path, capsys):
    arguments = [f"--runs={folder / 'a'}", f"--data_dir={digits_dir}"]
    more = ["--examples=20", "--recalibration_batches=0", f"--output={tmp_path / 'o'}"]
    matrix.main(parse([*arguments, *more], matrix.Options))
    assert (tmp_path / "o" / "matrix.md").read_text() in capsys.readouterr().out + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs=/nowhere"], "--runs: /nowhere/net/net.json: expected a trained net"),
        (["--runs={a}", "--nodes=3"], "--nodes: expected at most K = 2 of run 'a'"),
        (["--runs={plain}"], "--runs: model: expected one with continuous blocks"),
    ],
)
def test_what_is_no_row_is_refused(arguments, message, folder, tmp_path):
    plain = continuous_net("resnet20", input_shape=(8, 8, 1))
    said = checkpoint.metadata(folder / "a" / "net")
    checkpoint.save(plain, folder / "plain" / "net", said)
    names = {"a": folder / "a", "plain": folder / "plain"}
    arguments = [part.format(**names) for part in arguments]
    options = parse([*arguments, f"--output={tmp_path / 'o'}"], matrix.Options)
    with pytest.raises(OptionError, match=message):
        matrix.main(options)
    assert not (tmp_path / "o").exists()
