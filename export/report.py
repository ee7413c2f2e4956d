"""Measures every manifestation of a trained net in every format and precision.

    python export/report.py --manifestations=euler:2,midpoint:2,rk4:2
    python export/report.py --budget_ms=1.5 --budget_kb=500

builds each artefact as the export scripts do, runs it on the test set and on single
images, and writes report.csv, report.md and pareto.png to <output>/report/. With a
budget it names the most accurate artefact that fits, in the picture too. It keeps no
artefact: export the one you choose with the script of its format. Without the data set
it measures no accuracy, but how often an artefact gives the label of the net as
trained.

Latency and memory are measured for one image in a separate process on this machine.
Exit codes: 0 measured, 1 nothing fits the budget, 2 bad input, 3 the net's logits are
not finite.
"""

import dataclasses
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's log messages; it reads this on import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

from cnet_tf import escaping
from export import options, staging, survey
from export.formats.table import FORMATS
from export.measure import MeasureError
from export.pareto import BudgetError, best
from export.parity import ParityError
from export.report_files import contents, line, markdown
from trainers.option_kinds import integer, list_of, number, one_of
from trainers.option_table import option, run

PRECISIONS = tuple(
    dict.fromkeys(p for form in FORMATS.values() for p in form.precisions)
)


def _refusal(options) -> str:
    """Says why one of the artefacts does not take the input; empty if all do."""
    refusals = (
        form.refusal(precision, options.input) for form, precision in options.artefacts
    )
    return next(filter(None, refusals), "")


@dataclasses.dataclass(frozen=True)
class Options(options.Common):
    """Options of a report."""

    COMBINATIONS = (
        *options.Common.COMBINATIONS,
        (
            "precisions",
            lambda options: not options.artefacts,
            lambda options: (
                f"expected one that --formats={','.join(options.formats)} has. "
                f"Received {','.join(options.precisions or ())!r}: nothing would be "
                "measured, choose another."
            ),
        ),
        ("input", _refusal, _refusal),
    )

    manifestations: tuple | None = option(
        None,
        options.MANIFESTATIONS,
        "Manifestations to measure besides the net as trained",
        "Euler and midpoint with the steps of the net",
    )
    formats: tuple[str, ...] = option(
        tuple(FORMATS), list_of(one_of(FORMATS), unique=True), "Formats to measure"
    )
    precisions: tuple[str, ...] | None = option(
        None,
        list_of(one_of(PRECISIONS), unique=True),
        "Precisions to measure, in formats that have them",
        "all; those that learn from images only if there are enough",
    )
    calibration_images: int | None = options.calibration_images()
    threads: int = option(1, integer(1), "Threads of the runtimes during timing")
    runs: int = option(100, integer(10), "Timed runs of one image")
    budget_ms: float | None = option(
        None,
        number(">= 0"),
        "Name the most accurate artefact with at most this median latency",
        "no limit",
    )
    budget_kb: float | None = option(
        None,
        number(">= 0"),
        "Name the most accurate artefact of at most this size",
        "no limit",
    )

    @property
    def artefacts(self) -> list[tuple]:
        """Pairs (format, precision): the artefacts of each manifestation."""
        return [
            (FORMATS[name], precision)
            for name in self.formats
            for precision in FORMATS[name].precisions
            if self.precisions is None or precision in self.precisions
        ]


def main(options) -> list[dict]:
    """Measures, writes, and names the best choice within the budget."""
    folder = options.folder / "report"
    # First, so that an unwritable folder is found before the work starts.
    with staging.Workspace(folder) as workspace:
        rows, unmeasured = survey.measured(
            options, workspace.folder, lambda row: print(line(row))
        )
        budgets = options.budget_ms, options.budget_kb
        chosen, none_fits = None, None
        if budgets != (None, None):
            try:
                chosen = best(rows, *budgets)
            except BudgetError as error:  # Raised once the report is written.
                none_fits = error
        files = contents(rows, budgets, chosen, unmeasured)
        workspace.publish(files)
    written = escaping.line(folder)
    print(markdown(rows, unmeasured))
    print(f"Wrote {written}: {', '.join(files)}")
    if none_fits:
        raise none_fits
    if chosen:
        print(f"Best within the budget: {line(chosen)}")
    return rows


if __name__ == "__main__":
    run(main, Options, failures=[ParityError, MeasureError, BudgetError])
