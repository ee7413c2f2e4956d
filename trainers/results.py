"""Tables and pictures of a command as file contents in bytes."""

import csv
import io

from cnet_tf import escaping


def csv_of(rows: list[dict]) -> bytes:
    """Returns a CSV file with one line per row; all rows have the keys of the first."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].keys())
    table.writeheader()
    table.writerows({k: escaping.cell(v) for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def digits(value) -> float:
    """Rounds a measured number to four significant digits; more would be noise."""
    return float(f"{value:.4g}")


def figure(width, height):
    """Returns a figure of this size in inches, without a window."""
    # Imported here, as matplotlib takes a while and most processes draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def cost_axis(axes, costs):
    """Makes x the cost of a manifestation, on a log scale with a tick at each cost.

    Args:
        costs: Evaluations of the rate, for everything that is drawn.
    """
    axes.set_xscale("log", base=2)
    ticks = sorted(set(costs))
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xlabel("evaluations of the rate per block")


def png_of(figure, dpi=120) -> bytes:
    """Returns a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
