"""Writes a report: report.csv, report.md and pareto.png, of rows of `survey`."""

import csv
import io
import pathlib

from cnet_tf.atomic_file import write_bytes
from export import parity, staging
from export.pareto_picture import picture


def line(row) -> str:
    """Formats a row as a line of progress."""
    return (
        f"{row['manifestation']} {row['format']} {row['precision']}: "
        f"{row['accuracy_percent']:.2f} %, {row['median_ms']:.3g} ms, "
        f"{row['size_kb']:,.0f} kB"
    )


def markdown(rows) -> str:
    """Formats the report as a Markdown table."""
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
            "latency, ms (5..95 %)": f"{row['median_ms']:.3g} "
            f"({row['p5_ms']:.3g}..{row['p95_ms']:.3g})",
            "peak memory, MB": f"{row['peak_memory_mb']:,}",
        }
        for row in rows
    )


def write(
    folder, rows, budgets: tuple = (None, None), chosen: dict | None = None
) -> None:
    """Writes report.csv, report.md and pareto.png, each whole or not at all.

    Args:
        folder: Made if it is missing.
        rows: From `survey.measured`.
        budgets, chosen: See `picture`.
    """
    folder = pathlib.Path(folder)
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    contents = {
        "report.csv": text.getvalue().encode(),
        "report.md": f"{markdown(rows)}\n".encode(),
        "pareto.png": picture(rows, budgets, chosen),
    }
    with staging.writing():
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content)
