"""Runs side by side: accuracy over minutes of training, and over cost once trained.

    python trainers/compare.py --runs=runs/direct,runs/grown

The first run is what the others are measured by: when did each of them reach the
accuracy that it ended with? Validation accuracy is compared, or that of training where
there are no validation images. Of runs that `trainers/evaluate.py` has scored, the
second panel shows the accuracy of their manifestations over evaluations of the rate.
Writes compare.csv, compare.md and compare.png to --output.
"""

import csv
import dataclasses
import io
import json
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from cnet_tf import escaping
from trainers import disk, results
from trainers.errors import OptionError
from trainers.option_kinds import list_of, text
from trainers.option_table import OptionTable, option, run


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a comparison."""

    runs: tuple[str, ...] = option(
        ("runs/latest",),
        list_of(text("the folder of a run"), empty=False),
        "Folders of runs, ended or not; the first one is the measure",
    )
    output: str = option("comparisons", text(), "Folder for the results")


@dataclasses.dataclass(frozen=True)
class Course:
    """What a run did.

    Attributes:
        name: Of its folder.
        key: What is compared, `"val_accuracy"` or `"accuracy"`.
        minutes: Of training at the end of each epoch.
        accuracies: At the end of each epoch, in [0, 1].
        test: Test accuracy; None of a run that has not ended.
        costs: (evaluations a block, accuracy) of its manifestations, by cost.
    """

    name: str
    key: str
    minutes: tuple[float, ...]
    accuracies: tuple[float, ...]
    test: float | None
    costs: tuple[tuple[int, float], ...]

    def reached(self, accuracy):
        """Minutes until this accuracy was met first; None if it never was."""
        pairs = zip(self.minutes, self.accuracies, strict=True)
        return next((minutes for minutes, found in pairs if found >= accuracy), None)


def read(folder) -> Course:
    """The course of a run, from its log, its times and its grid.

    Raises:
        OptionError: the folder has no log of an epoch.
    """
    folder = pathlib.Path(folder)
    log, timing = _rows(folder / "log.csv"), _rows(folder / "timing.csv")
    seconds = {row["epoch"]: float(row["seconds"]) for row in timing}
    if not log or any(row["epoch"] not in seconds for row in log):
        raise OptionError(
            "--runs: expected folders of runs with log.csv and timing.csv of an epoch "
            f"at least. Received {str(folder)!r}: see the line 'New run' of a training."
        )
    key = "val_accuracy" if "val_accuracy" in log[0] else "accuracy"
    minutes, total = [], 0.0
    for row in log:
        total += seconds[row["epoch"]] / 60
        minutes.append(total)
    summary = folder / "summary.json"
    ended = json.loads(summary.read_text()) if summary.is_file() else {}
    best = {}
    for row in _rows(folder / "evaluation" / "grid.csv"):
        cost, accuracy = int(row["evaluations"] or 1), float(row["accuracy"])
        best[cost] = max(accuracy, best.get(cost, 0.0))
    return Course(
        folder.resolve().name,
        key,
        tuple(minutes),
        tuple(float(row[key]) for row in log),
        ended.get("test_accuracy"),
        tuple(sorted(best.items())),
    )


def _rows(path) -> list[dict]:
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main(options):
    """Reads, draws, writes and prints."""
    courses = [read(folder) for folder in options.runs]
    if len({course.key for course in courses}) > 1:
        raise OptionError(
            "--runs: expected runs that all have validation images, or none. Received "
            + ", ".join(f"{course.name} with {course.key}" for course in courses)
            + ": compare those of a kind."
        )
    files = {
        "compare.csv": _csv(courses),
        "compare.md": f"{markdown(courses)}\n".encode(),
        "compare.png": picture(courses),
    }
    workspace = disk.Workspace(pathlib.Path(options.output))
    with workspace:
        workspace.publish(files)
    print(f"{markdown(courses)}\n\nWritten to {workspace.parent}: {', '.join(files)}")


def _csv(courses) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["run", "epoch", "minutes", courses[0].key])
    for course in courses:
        pairs = zip(course.minutes, course.accuracies, strict=True)
        for epoch, (minutes, accuracy) in enumerate(pairs):
            table.writerow([escaping.cell(course.name), epoch, minutes, accuracy])
    return text.getvalue().encode()


def markdown(courses) -> str:
    """A row a run; "reached" is when it met the last accuracy of the first run."""
    target = courses[0].accuracies[-1]
    what = "validation" if courses[0].key == "val_accuracy" else "training"
    lines = [
        f"| run | epochs | minutes | {what} accuracy, % | {100 * target:.2f} % reached "
        "after, min | test accuracy, % |",
        "|---" * 6 + "|",
    ]
    for course in courses:
        met = course.reached(target)
        cells = [
            escaping.markdown(course.name),
            str(len(course.minutes)),
            f"{course.minutes[-1]:.1f}",
            f"{100 * course.accuracies[-1]:.2f}",
            "never" if met is None else f"{met:.1f}",
            "" if course.test is None else f"{100 * course.test:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(courses) -> bytes:
    """A PNG: accuracy over minutes, and over evaluations where a run has a grid."""
    scored = [course for course in courses if course.costs]
    figure = results.figure(6.4 + 5.2 * bool(scored), 4.2)
    first, *second = figure.subplots(1, 1 + bool(scored), squeeze=False)[0]
    for i, course in enumerate(courses):
        percent = [100 * accuracy for accuracy in course.accuracies]
        first.plot(course.minutes, percent, color=f"C{i}", label=course.name)
    first.axhline(100 * courses[0].accuracies[-1], color="grey", linewidth=0.8)
    first.set_xlabel("minutes of training")
    what = "validation" if courses[0].key == "val_accuracy" else "training"
    first.set_ylabel(f"{what} accuracy, %")
    for axes in second:
        for course in scored:
            costs, accuracies = zip(*course.costs, strict=True)
            percent = [100 * accuracy for accuracy in accuracies]
            color = f"C{courses.index(course)}"
            axes.plot(costs, percent, "o-", color=color, label=course.name)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("evaluations of the rate per block, best scheme")
        axes.set_ylabel("accuracy, %")
    for axes in (first, *second):
        axes.grid(alpha=0.3)
        axes.legend()
    return results.png_of(figure)


if __name__ == "__main__":
    run(main, Options)
