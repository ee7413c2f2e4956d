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
import io
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's own notes; it reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

from cnet_tf.atomic_file import write_bytes
from cnet_tf.surgery import blocks_of
from export import calibration, graph_cost, options, parity, serving, staging
from export.description import describe
from export.formats.record import Recipe
from export.formats.table import FORMATS
from export.measure import measure
from export.pareto import BudgetError, best, picture
from export.runtimes import SIGNATURE
from export.source import Source, first_test_images

PRECISIONS = list(
    dict.fromkeys(p for form in FORMATS.values() for p in form.precisions)
)

_LEFT_OUT = ("scheme", "steps", "fold", "license")

OPTIONS = (
    *(option for option in options.SHARED if option[0] not in _LEFT_OUT),
    (
        "manifestations",
        options.ListOf(options.Manifestation()),
        None,
        "Measured beside the net as trained, like euler:2,midpoint:2. Default: "
        "Euler and midpoint with the steps of the net.",
    ),
    (
        "formats",
        options.ListOf(options.OneOf(FORMATS)),
        ",".join(FORMATS),
        f"Any of {', '.join(FORMATS)}.",
    ),
    (
        "precisions",
        options.ListOf(options.OneOf(PRECISIONS)),
        ",".join(PRECISIONS),
        f"Any of {', '.join(PRECISIONS)}; those that a format has.",
    ),
    options.CALIBRATION,
    ("threads", options.AtLeast(1), 1, "Threads of the runtimes, 1 or more."),
    ("runs", options.AtLeast(10), 100, "Runs of one image to time, 10 or more."),
    (
        "budget_ms",
        flags.FloatParser(lower_bound=0),
        None,
        "Name the most accurate artefact of at most this median latency.",
    ),
    (
        "budget_kb",
        flags.FloatParser(lower_bound=0),
        None,
        "Name the most accurate artefact of at most this size.",
    ),
)


def row_of(form, source, recipe, test, reference, values) -> dict:
    """The facts of one artefact, built in a folder that is gone afterwards.

    Args:
        form, source, recipe: What to build.
        test: Test images and labels.
        reference: Function of pixels to the logits of Keras.
        values: Flags.
    """
    images, labels = test
    feed = serving.feeder(source.data, recipe.kind)
    samples = recipe.samples if form.precisions[recipe.precision].calibrated else None
    description = describe(source, recipe.kind, recipe.precision, samples)
    output = staging.output_folder(values.run, values.output)
    with staging.workspace(output / "report") as folder:
        path = form.build(source, recipe, description, folder)
        call = form.reload(path)[SIGNATURE]
        found = parity.compare(
            reference,
            lambda pixels: call(feed(pixels)),
            images,
            labels,
            values.parity_images,
        )
        one = feed(images[:1])
        cost = measure(form.reload, path, SIGNATURE, one, values.threads, values.runs)
        return {
            "manifestation": source.name,
            "format": form.name,
            "precision": recipe.precision,
            "accuracy_percent": round(100 * found.candidate_accuracy, 3),
            "keras_accuracy_percent": round(100 * found.reference_accuracy, 3),
            "images": found.images,
            "max_abs_delta_logits": float(f"{found.delta:.3g}"),
            "size_kb": round(staging.size_on_disk(path) / 1000, 1),
            "macs": graph_cost.macs(source.net, images.shape[1:]),
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


def measured(values, progress=print) -> list[dict]:
    """All rows, as the flags ask for them."""
    wanted = [
        (FORMATS[name], precision)
        for name in values.formats
        for precision in FORMATS[name].precisions
        if precision in values.precisions
    ]
    for form, precision in wanted:
        form.require_input(precision, values.input)
    staging.require_writable(staging.output_folder(values.run, values.output))
    trained = Source.read(values.run).projected(values.basis_size)
    data = trained.load_data(values.data_dir)
    test = first_test_images(data, values.accuracy_images)
    samples = calibration.calibration_images(data, values.calibration_images)
    rows = []
    for scheme, steps in [(None, None), *_manifestations(values, trained.net)]:
        source = trained.manifested(scheme, steps)
        source = source.recalibrated(data, values.recalibrate)
        folded = source.folded()
        reference = remembered(serving.keras_logits(source.net, source.data))
        for form, precision in wanted:
            made_from = folded if form.folds else source
            recipe = Recipe(values.input, precision, samples)
            row = row_of(form, made_from, recipe, test, reference, values)
            rows.append(row)
            progress(line(row))
    return rows


def _manifestations(values, net):
    """Those asked for, without the net's own, which comes first anyway."""
    own = [(block.scheme, block.steps) for block in blocks_of(net)]
    if not own:
        return []
    wanted = values.manifestations
    if wanted is None:
        wanted = [(scheme, own[0][1]) for scheme in ("euler", "midpoint")]
    return [pair for pair in wanted if set(own) != {pair}]


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


def main(values) -> list[dict]:
    """Measures, writes, and names the best choice within the budget."""
    folder = staging.output_folder(values.run, values.output) / "report"
    rows = measured(values)
    write(folder, rows)
    print(f"{markdown(rows)}\nWrote {folder}: report.csv, report.md, pareto.png")
    if values.budget_ms is not None or values.budget_kb is not None:
        chosen = best(rows, values.budget_ms, values.budget_kb)
        print(f"Best within the budget: {line(chosen)}")
    return rows


if __name__ == "__main__":
    options.run(main, OPTIONS, failures=[BudgetError])
