"""Writes the complete logs of a run as CSV files after every epoch."""

import csv
import io
import pathlib

from cnet_tf.atomic_file import write_bytes
from cnet_tf.escaping import cell

# Columns that differ between any two runs.
TIMES = ("seconds", "images_per_second")


def write(run, history: list[dict]) -> None:
    """Writes log.csv, identical for identical runs, and timing.csv, which differs.

    Rewrites both rather than appending: a resumed run starts from a snapshot, and rows
    logged after that snapshot would appear twice.

    Args:
        run: The run directory.
        history: The logs of the epochs so far.
    """
    rows = [{"epoch": i, **logs} for i, logs in enumerate(history)]
    for name, wanted in (
        ("log.csv", lambda key: key not in TIMES),
        ("timing.csv", lambda key: key in ("epoch", *TIMES)),
    ):
        keys = sorted({key for row in rows for key in row if wanted(key)} - {"epoch"})
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["epoch", *map(cell, keys)])
        table.writerows(
            [cell(row.get(key, "")) for key in ("epoch", *keys)] for row in rows
        )
        write_bytes(pathlib.Path(run, name), text.getvalue().encode())
