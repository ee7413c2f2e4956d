"""Tables and pictures of a command as the bytes of their files."""

import csv
import io

from cnet_tf import escaping


def csv_of(rows: list[dict]) -> bytes:
    """A CSV file with a line a row; all rows have the keys of the first."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].keys())
    table.writeheader()
    table.writerows({k: escaping.cell(v) for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def figure(width, height):
    """A figure of that size in inches, which no window shows."""
    # Here, as matplotlib takes a while and most processes draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def png_of(figure, dpi=120) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
