"""Measures every manifestation of a trained net in every format and precision.

    python export/report.py --manifestations=euler:2,midpoint:2,rk4:2
    python export/report.py --budget_ms=1.5 --budget_kb=500

builds each artefact as the export scripts do, runs it on the test set and on single
images, and writes report.csv, report.md and pareto.png to <output>/report/. With a
budget it names the most accurate artefact that fits. It keeps no artefact: export the
one you choose with the script of its format.

Latencies and memory are those of one image in a process of its own on this machine.
Exit codes: 0 measured, 1 nothing fits the budget, 2 bad input.
"""

import csv
import dataclasses
import io
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's own notes; it reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from cnet_tf.atomic_file import write_bytes
from export import graph_cost, options, parity, serving, staging
from export.calibration import calibration_images
from export.description import describe
from export.formats.record import Recipe
from export.formats.table import FORMATS
from export.job import Job
from export.measure import MeasureError, measure
from export.pareto import BudgetError, best, picture
from export.runtimes import SIGNATURE
from export.source import Source, first_test_images
from trainers.option_kinds import integer, list_of, number, one_of
from trainers.option_table import option, run

PRECISIONS = tuple(
    dict.fromkeys(p for form in FORMATS.values() for p in form.precisions)
)


def _refusal(options) -> str:
    """Why one of the artefacts does not take the input; empty if all do."""
    refusals = (
        form.refusal(precision, options.input) for form, precision in options.artefacts
    )
    return next(filter(None, refusals), "")


@dataclasses.dataclass(frozen=True)
class Options(options.Common):
    """The options of a report."""

    COMBINATIONS = (
        (
            "precisions",
            lambda options: not options.artefacts,
            lambda options: (
                f"expected one that --formats={','.join(options.formats)} has. "
                f"Received {','.join(options.precisions)!r}, so nothing is measured."
            ),
        ),
        ("input", _refusal, _refusal),
    )

    manifestations: tuple | None = option(
        None,
        options.MANIFESTATIONS,
        "Measured beside the net as trained",
        "Euler and midpoint with the steps of the net",
    )
    formats: tuple[str, ...] = option(
        tuple(FORMATS), list_of(one_of(FORMATS), unique=True), "Formats to measure"
    )
    precisions: tuple[str, ...] = option(
        PRECISIONS,
        list_of(one_of(PRECISIONS), unique=True),
        "Precisions to measure, where a format has them",
    )
    calibration_images: int = options.calibration_images()
    threads: int = option(1, integer(1), "Threads of the runtimes")
    runs: int = option(100, integer(10), "Runs of one image to time")
    budget_ms: float | None = option(
        None,
        number(">= 0"),
        "Name the most accurate artefact of at most this median latency",
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
        """(Format, precision) of every artefact of a manifestation."""
        return [
            (FORMATS[name], precision)
            for name in self.formats
            for precision in FORMATS[name].precisions
            if precision in self.precisions
        ]


def row_of(job: Job, reference, parent, runs: int) -> dict:
    """The facts of one artefact, built in a folder that is gone afterwards.

    Args:
        job: What to build, and what to compare it on.
        reference: Function of pixels to the logits of Keras.
        parent: The folder of that folder.
        runs: Timed runs of one image.
    """
    form, source, recipe = job.form, job.source, job.recipe
    feed = serving.feeder(source.data, recipe.kind)
    description = describe(
        source,
        recipe.kind,
        recipe.precision,
        recipe.samples if job.calibrated else None,
    )
    with staging.workspace(parent) as folder:
        path = form.build(source, recipe, description, folder)
        call = form.reload(path)[SIGNATURE]
        found = parity.compare(
            reference,
            lambda pixels: call(feed(pixels)),
            job.images,
            job.labels,
            job.parity_images,
        )
        one = feed(job.images[:1])
        cost = measure(form.reload, path, SIGNATURE, one, job.threads, runs)
        return {
            "manifestation": source.name,
            "format": form.name,
            "precision": recipe.precision,
            "accuracy_percent": round(100 * found.candidate_accuracy, 3),
            "keras_accuracy_percent": round(100 * found.reference_accuracy, 3),
            "images": found.images,
            "max_abs_delta_logits": float(f"{found.delta:.3g}"),
            "size_kb": round(staging.size_on_disk(path) / 1000, 1),
            "macs": graph_cost.macs(source.net, job.images.shape[1:]),
            "median_ms": round(1000 * cost.median, 3),
            "p5_ms": round(1000 * cost.low, 3),
            "p95_ms": round(1000 * cost.high, 3),
            "peak_memory_mb": round(cost.peak_memory / 1e6),
        }


def remembered(function):
    """The function, called once for equal pixels."""
    known = {}

    def call(pixels):
        key = pixels.shape, hash(pixels.tobytes())
        if key not in known:
            known[key] = function(pixels)
        return known[key]

    return call


def measured(options, progress=print) -> list[dict]:
    """All rows that the options ask for."""
    staging.require_writable(options.folder)
    trained = Source.read(options.run).projected(options.basis_size)
    data = trained.load_data(options.data_dir)
    test = first_test_images(data, options.accuracy_images)
    samples = calibration_images(data, options.calibration_images)
    folder, rows = options.folder / "report", []
    for scheme, steps in [(None, None), *_manifestations(options, trained.net)]:
        source = trained.manifested(scheme, steps)
        source = source.recalibrated(data, options.recalibrate)
        folded = source.folded()
        reference = remembered(serving.keras_logits(source.net, source.data))
        for form, precision in options.artefacts:
            job = Job(
                form,
                folded if form.folds else source,
                Recipe(options.input, precision, samples),
                *test,
                options.parity_images,
                options.threads,
            )
            row = row_of(job, reference, folder, options.runs)
            rows.append(row)
            progress(line(row))
    return rows


def _manifestations(options, net):
    """Those asked for, without the net's own, which comes first anyway."""
    if not net.blocks:
        return []
    steps = net.blocks[0].steps
    own = (net.blocks[0].scheme, steps)
    wanted = options.manifestations
    if wanted is None:
        wanted = [("euler", steps), ("midpoint", steps)]
    uniform = all(block.steps == steps for block in net.blocks)
    return [pair for pair in wanted if not (uniform and pair == own)]


def line(row) -> str:
    """A row as a line of progress."""
    return (
        f"{row['manifestation']} {row['format']} {row['precision']}: "
        f"{row['accuracy_percent']:.2f} %, {row['median_ms']:.2f} ms, "
        f"{row['size_kb']:,.0f} kB"
    )


def markdown(rows) -> str:
    """The report as a Markdown table."""
    return parity.table(
        {
            "manifestation": row["manifestation"],
            "format": row["format"],
            "precision": row["precision"],
            "accuracy, %": f"{row['accuracy_percent']:.2f}",
            "Keras, %": f"{row['keras_accuracy_percent']:.2f}",
            "max abs delta logits": f"{row['max_abs_delta_logits']:.1e}",
            "size, kB": f"{row['size_kb']:,.0f}",
            "M MACs": f"{row['macs'] / 1e6:,.1f}",
            "latency, ms (5..95 %)": f"{row['median_ms']:.2f} "
            f"({row['p5_ms']:.2f}..{row['p95_ms']:.2f})",
            "peak memory, MB": f"{row['peak_memory_mb']:,}",
        }
        for row in rows
    )


def write(folder, rows) -> None:
    """Writes report.csv, report.md and pareto.png, each whole or not at all."""
    folder = pathlib.Path(folder)
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    contents = {
        "report.csv": text.getvalue().encode(),
        "report.md": f"{markdown(rows)}\n".encode(),
        "pareto.png": picture(rows),
    }
    with staging.writing():
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content)


def main(options) -> list[dict]:
    """Measures, writes, and names the best choice within the budget."""
    folder = options.folder / "report"
    rows = measured(options)
    write(folder, rows)
    print(f"{markdown(rows)}\nWrote {folder}: report.csv, report.md, pareto.png")
    if options.budget_ms is not None or options.budget_kb is not None:
        chosen = best(rows, options.budget_ms, options.budget_kb)
        print(f"Best within the budget: {line(chosen)}")
    return rows


if __name__ == "__main__":
    run(main, Options, failures=[parity.ParityError, MeasureError, BudgetError])
