"""Compares runs: accuracy over minutes of training, and over cost once trained.

    python trainers/compare.py --runs=runs/direct,runs/grown

The first run is the reference: when did each of the others reach the accuracy that the
first one ended with? Validation accuracy is compared, or training accuracy where there
are no validation images. For runs that `trainers/evaluate.py` has scored, a second
panel shows the accuracy of their manifestations over evaluations of the rate.
Writes compare.csv, compare.md and compare.png to --output.
"""

import csv
import dataclasses
import io
import itertools
import math
import os
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quick_start.import_keras()

from cnet_tf import escaping, plain_file
from cnet_tf.line_error import LineError
from trainers import disk, results
from trainers.data_option import LATEST
from trainers.errors import OptionError
from trainers.option_kinds import list_of, run_folder, text
from trainers.option_table import OptionTable, option, run

_MARKERS = "os^Dv<>pXP"


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a comparison."""

    runs: tuple[str, ...] = option(
        (LATEST,),
        list_of(run_folder(), empty=False),
        "Runs, finished or not; the first one is the reference",
    )
    output: str = option("comparisons", text(), "Folder for the results")


@dataclasses.dataclass(frozen=True)
class Point:
    """A manifestation: its scheme, evaluations per block, and accuracy in [0, 1].

    The cost is None for a net of fixed depth.
    """

    scheme: str
    cost: int | None
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Course:
    """The course of a run.

    Attributes:
        name: Name of its folder.
        key: What is compared, `"val_accuracy"` or `"accuracy"`.
        minutes: Minutes of training up to the end of each epoch.
        accuracies: Accuracy at the end of each epoch, in [0, 1].
        test: Test accuracy; None for a run that has not finished.
        points: Its manifestations with finite accuracy.
    """

    name: str
    key: str
    minutes: tuple[float, ...]
    accuracies: tuple[float, ...]
    test: float | None
    points: tuple[Point, ...]

    def reached(self, accuracy):
        """Returns the minutes until this accuracy was first met; None if never."""
        pairs = zip(self.minutes, self.accuracies, strict=True)
        return next((minutes for minutes, found in pairs if found >= accuracy), None)

    def best(self) -> list[tuple[int, float]]:
        """Lists (cost, accuracy) of the best manifestation at each cost, by cost."""
        found = {}
        for point in self.points:
            if point.cost is not None:
                found[point.cost] = max(point.accuracy, found.get(point.cost, 0.0))
        return sorted(found.items())


def read(folder) -> Course:
    """Reads the course of a run from its log, times and grid.

    Raises:
        OptionError: the folder has no logged epoch, or a damaged file.
    """
    try:
        return _read(pathlib.Path(folder))
    except OptionError:
        raise
    except LineError as error:  # Its message says which file, and why.
        raise OptionError(f"--runs: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(
            "--runs: expected folders with log.csv, timing.csv and grid.csv as a run "
            f"wrote them. Received {str(folder)!r}, one of whose files is damaged "
            f"({type(error).__name__}: {error}): restore it."
        ) from error


def _read(folder):
    log, timing = _rows(folder / "log.csv"), _rows(folder / "timing.csv")
    seconds = {row["epoch"]: float(row["seconds"]) for row in timing}
    if not log or any(row["epoch"] not in seconds for row in log):
        raise OptionError(
            "--runs: expected folders of runs with log.csv and timing.csv of at least "
            f"one epoch. Received {str(folder)!r}: see the 'New run' line of a "
            "training."
        )
    key = "val_accuracy" if "val_accuracy" in log[0] else "accuracy"
    minutes, total = [], 0.0
    for row in log:
        total += seconds[row["epoch"]] / 60
        minutes.append(total)
    summary = folder / "summary.json"
    ended = plain_file.read_json(summary) if summary.is_file() else {}
    rows = _rows(folder / "evaluation" / "grid.csv")
    # Only those scored on the whole test set. Older grids do not name their split.
    points = (
        _point(row)
        for row in rows
        if row.get("split", "test") == "test" and not row.get("examples")
    )
    return Course(
        folder.resolve().name,
        key,
        tuple(minutes),
        tuple(float(row[key]) for row in log),
        None if (test := ended.get("test_accuracy")) is None else float(test),
        tuple(point for point in points if math.isfinite(point.accuracy)),
    )


def _point(row) -> Point:
    """Reads a row of grid.csv."""
    accuracy = float(row["accuracy"])
    if row["trained"] != "True" and row["recalibrated_accuracy"]:
        accuracy = max(accuracy, float(row["recalibrated_accuracy"]))
    cost = int(row["evaluations"]) if row["evaluations"] else None
    return Point(row["scheme"], cost, accuracy)


def _rows(path) -> list[dict]:
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(plain_file.read_text(path), newline="")))


def main(options):
    """Reads, draws, writes and prints."""
    courses = [read(folder) for folder in options.runs]
    if len({course.key for course in courses}) > 1:
        raise OptionError(
            "--runs: expected runs that all have validation images, or none. Received "
            + ", ".join(f"{course.name} with {course.key}" for course in courses)
            + ": compare runs of one kind."
        )
    files = {
        "compare.csv": _csv(courses),
        "compare.md": f"{markdown(courses)}\n".encode(),
        "compare.png": picture(courses),
    }
    workspace = disk.Workspace(pathlib.Path(options.output))
    with workspace:
        workspace.publish(files)
    print(f"{markdown(courses)}\n")
    print(f"Written to {escaping.line(workspace.parent)}: {', '.join(files)}")


def _csv(courses) -> bytes:
    rows = [
        {"run": course.name, "epoch": epoch, "minutes": minutes, course.key: accuracy}
        for course in courses
        for epoch, (minutes, accuracy) in enumerate(
            zip(course.minutes, course.accuracies, strict=True)
        )
    ]
    return results.csv_of(rows)


def markdown(courses) -> str:
    """Returns a row per run; "reached": when it met the first run's last accuracy."""
    target = courses[0].accuracies[-1]
    what = "validation" if courses[0].key == "val_accuracy" else "training"
    rows = []
    for course in courses:
        met = course.reached(target)
        row = {
            "run": escaping.markdown(course.name),
            "epochs": str(len(course.minutes)),
            "minutes": f"{course.minutes[-1]:.1f}",
            f"{what} accuracy, %": f"{100 * course.accuracies[-1]:.2f}",
            f"{100 * target:.2f} % reached after, min": (
                "never" if met is None else f"{met:.1f}"
            ),
            "test accuracy, %": (
                "" if course.test is None else f"{100 * course.test:.2f}"
            ),
        }
        rows.append(row)
    return results.table(rows)


def picture(courses) -> bytes:
    """Draws a PNG: accuracy over minutes, and over evaluations if a run has a grid."""
    scored = any(course.points for course in courses)
    figure = results.figure(6.4 + 5.2 * scored, 4.2)
    first, *second = figure.subplots(1, 1 + scored, squeeze=False)[0]
    for i, course in enumerate(courses):
        percent = [100 * accuracy for accuracy in course.accuracies]
        label = escaping.plot(course.name)
        first.plot(course.minutes, percent, color=f"C{i}", label=label)
    first.axhline(100 * courses[0].accuracies[-1], color="grey", linewidth=0.8)
    first.set_xlabel("minutes of training")
    what = "validation" if courses[0].key == "val_accuracy" else "training"
    first.set_ylabel(f"{what} accuracy, %")
    first.legend(fontsize=8)
    for axes in second:
        _draw_costs(axes, courses)
    for axes in (first, *second):
        axes.grid(alpha=0.3)
    return results.png_of(figure)


def _draw_costs(axes, courses):
    """Draws a marker per scheme, and a line per run through the best at each cost.

    A net of fixed depth is a horizontal line, as it has no number of evaluations.
    """
    points = [
        point for course in courses for point in course.points if point.cost is not None
    ]
    schemes = dict.fromkeys(point.scheme for point in points)
    markers = dict(zip(schemes, itertools.cycle(_MARKERS), strict=False))
    for i, course in enumerate(courses):
        for point in course.points:
            if point.cost is None:
                axes.axhline(100 * point.accuracy, color=f"C{i}", linestyle=":")
                continue
            marker = markers[point.scheme]
            axes.plot(point.cost, 100 * point.accuracy, marker, color=f"C{i}")
        best = [(cost, 100 * accuracy) for cost, accuracy in course.best()]
        if best:
            axes.plot(*zip(*best, strict=True), color=f"C{i}")
    for scheme, marker in markers.items():
        axes.plot([], [], marker, color="grey", label=escaping.plot(scheme))
    results.cost_axis(axes, [point.cost for point in points])
    axes.set_ylabel("test accuracy, %")
    if points:
        axes.legend(fontsize=8)


if __name__ == "__main__":
    run(main, Options)
