"""Tables and pictures of a command, those of files as their contents in bytes."""

import csv
import io
import math
from collections.abc import Iterable

from cnet_tf import escaping


def csv_of(rows: list[dict]) -> bytes:
    """Returns a CSV file with one line per row; all rows have the keys of the first."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].keys())
    table.writeheader()
    table.writerows({k: escaping.cell(v) for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def table(rows: Iterable[dict[str, str]]) -> str:
    """Returns an aligned Markdown table; the keys of the first row are its headings.

    Args:
        rows: At least one. Cells are Markdown: names from elsewhere must be escaped.
    """
    rows = list(rows)
    lines = [list(rows[0]), *([row[key] for key in rows[0]] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # The first column, of names, is left-aligned, the others are right-aligned.
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(_aligned(line, widths))} |" for line in lines)


def _aligned(line, widths):
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]


def percent(accuracy: float, unit="") -> str:
    """Formats an accuracy in [0, 1] in percent; NaN: scores were not finite."""
    return "not finite" if math.isnan(accuracy) else f"{100 * accuracy:.2f}{unit}"


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
