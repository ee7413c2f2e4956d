"""Runs side by side, read from their logs, times and grids."""

import json

import numpy as np
import pytest
from markdown_tables import cells_of
from trained_run import parse

from cnet_tf.pretrained import folder_of, shipped
from trainers import compare
from trainers.errors import OptionError


def a_run(folder, accuracies, seconds, key="val_accuracy", grid=(), test=None, more=""):
    """A folder with what a training and an evaluation leave in it."""
    folder.mkdir()
    epochs = range(len(accuracies))
    log = [f"epoch,{key}"] + [f"{e},{accuracies[e]}" for e in epochs]
    times = ["epoch,seconds"] + [f"{e},{seconds}" for e in epochs]
    (folder / "log.csv").write_text("\n".join(log))
    (folder / "timing.csv").write_text("\n".join(times))
    if grid:
        (folder / "evaluation").mkdir()
        rows = [
            f"scheme,evaluations,trained,accuracy,recalibrated_accuracy{more}",
            *grid,
        ]
        (folder / "evaluation" / "grid.csv").write_text("\n".join(rows))
    if test:
        (folder / "summary.json").write_text(json.dumps({"test_accuracy": test}))
    return folder


def compared(*folders, output):
    flags = [f"--runs={','.join(map(str, folders))}", f"--output={output}"]
    compare.main(parse(flags, compare.Options))


def test_the_others_are_timed_to_the_last_accuracy_of_the_first(tmp_path, capsys):
    direct = a_run(tmp_path / "direct", (0.5, 0.9, 0.8), seconds=120, test=0.79)
    grown = a_run(tmp_path / "grown", (0.5, 0.79, 0.81), seconds=30)
    short = a_run(tmp_path / "short", (0.5,), seconds=1)
    compared(direct, grown, short, output=tmp_path / "out")
    header, *found = cells_of(capsys.readouterr().out)
    assert header[4] == "80.00 % reached after, min"
    assert found == [
        ["direct", "3", "6.0", "80.00", "4.0", "79.00"],
        ["grown", "3", "1.5", "81.00", "1.5", ""],
        ["short", "1", "0.0", "50.00", "never", ""],
    ]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"compare.csv", "compare.md", "compare.png"}


def test_the_best_scheme_counts_at_each_cost(tmp_path):
    grid = ["rk4,4,False,0.5,0.4", "euler,1,True,0.6,0.9", "euler,4,False,0.1,0.7"]
    grid.insert(0, "midpoint,4,False,nan,nan")
    run = compare.read(a_run(tmp_path / "run", (0.5,), seconds=1, grid=grid))
    # What was not trained counts with recalibrated norms where that is better.
    assert [point.accuracy for point in run.points] == [0.5, 0.6, 0.7]
    assert run.best() == [(1, 0.6), (4, 0.7)]


def test_scores_of_other_splits_are_left_out(tmp_path):
    grid = ["euler,1,True,0.6,,train", "euler,4,True,0.5,,test"]
    folder = a_run(tmp_path / "run", (0.5,), seconds=1, grid=grid, more=",split")
    assert [point.accuracy for point in compare.read(folder).points] == [0.5]


def test_scores_of_a_part_are_left_out(tmp_path):
    grid = ["euler,1,True,0.6,,test,100", "euler,4,True,0.5,,test,"]
    more = ",split,examples"
    folder = a_run(tmp_path / "run", (0.5,), seconds=1, grid=grid, more=more)
    assert [point.accuracy for point in compare.read(folder).points] == [0.5]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "[0.5"),
        ("summary.json", "[0.5]"),
        ("summary.json", '{"test_accuracy": "x"}'),
        ("summary.json", "[" * 200_000),
        ("log.csv", "epoch,loss\n0,0.5"),
        ("log.csv", "epoch,accuracy\n0,zz"),
        ("timing.csv", "epoch\n0"),
        ("evaluation/grid.csv", "scheme,trained\neuler,True"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content):
    grid = ("euler,1,True,0.6,",)
    folder = a_run(tmp_path / "run", (0.5,), seconds=1, grid=grid)
    (folder / name).write_text(content)
    with pytest.raises(OptionError, match="--runs: "):
        compare.read(folder)


def test_a_log_that_is_a_link_is_refused(tmp_path):
    folder = a_run(tmp_path / "run", (0.5,), seconds=1)
    (folder / "log.csv").rename(tmp_path / "elsewhere.csv")
    (folder / "log.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(OptionError, match="--runs: .*log.csv"):
        compare.read(folder)


def test_an_accuracy_is_reached_where_it_is_met(tmp_path):
    run = compare.read(a_run(tmp_path / "run", (0.5, 0.75, 0.9), seconds=60))
    assert run.reached(0.75) == 2.0
    assert run.reached(0.76) == 3.0


def test_a_net_of_fixed_depth_is_a_level(tmp_path):
    """It costs no number of evaluations, alone or beside nets that do."""
    grid = ("fixed,,True,0.6,0.5",)
    fixed = compare.read(a_run(tmp_path / "run", (0.5,), seconds=1, grid=grid))
    assert fixed.best() == [] and fixed.points[0].accuracy == 0.6
    grid = ("euler,4,True,0.7,",)
    other = compare.read(a_run(tmp_path / "other", (0.5,), seconds=1, grid=grid))
    for courses in ([fixed], [fixed, other]):
        assert compare.picture(courses).startswith(b"\x89PNG")


def test_nets_that_ship_are_compared_without_data(tmp_path):
    names = [f"pretrained:{preset}" for preset in shipped()]
    compared(*names, output=tmp_path)
    for preset in shipped():
        course = compare.read(folder_of(preset))
        said = json.loads((folder_of(preset) / "summary.json").read_text())
        assert course.points and len(course.minutes) == said["epochs"]
        assert all(np.diff([0, *course.minutes]) > 0)
        assert course.minutes[-1] * 60 == pytest.approx(said["train_seconds"], rel=0.01)
        # Statistics re-estimated at shipping move the accuracy a little.
        assert min(abs(p.accuracy - course.test) for p in course.points) < 2e-3
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_an_epoch_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"^--runs: expected .* Received .*nowhere"):
        compared(tmp_path / "nowhere", output=tmp_path)


def test_accuracies_of_two_kinds_are_refused(tmp_path):
    first = a_run(tmp_path / "a", (0.5,), seconds=1)
    second = a_run(tmp_path / "b", (0.5,), seconds=1, key="accuracy")
    with pytest.raises(OptionError, match="--runs: expected runs that all have"):
        compared(first, second, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
