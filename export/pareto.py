"""Picks the Pareto front of artefacts: no quicker one is as accurate."""

import io


class BudgetError(ValueError):
    """No artefact fits a budget. The message is one line."""


def best(rows: list[dict], milliseconds=None, kilobytes=None) -> dict:
    """Finds the most accurate row within a budget; of equals the quickest.

    Args:
        rows: From `survey.measured`.
        milliseconds: Largest median latency, or None.
        kilobytes: Largest size, or None.

    Raises:
        BudgetError: none fits.
    """
    fitting = [
        row
        for row in rows
        if (milliseconds is None or row["median_ms"] <= milliseconds)
        and (kilobytes is None or row["size_kb"] <= kilobytes)
    ]
    if not fitting:
        quickest = min(row["median_ms"] for row in rows)
        smallest = min(row["size_kb"] for row in rows)
        raise BudgetError(
            f"--budget_ms, --budget_kb: expected a budget that an artefact fits. "
            f"Received {milliseconds} ms and {kilobytes} kB: the quickest takes "
            f"{quickest} ms, the smallest {smallest} kB."
        )
    return max(fitting, key=lambda row: (row["accuracy_percent"], -row["median_ms"]))


def front(
    rows: list[dict], cost: str = "median_ms", score: str = "accuracy_percent"
) -> list[dict]:
    """Finds the rows that no cheaper one equals in its score, the cheapest first.

    Args:
        rows: Dicts of numbers.
        cost: Key of what should be small. Default: the latency.
        score: Key of what should be large. Default: the accuracy.
    """
    kept = []
    for row in sorted(rows, key=lambda row: (row[cost], -row[score])):
        if not kept or row[score] > kept[-1][score]:
            kept.append(row)
    return kept


def picture(rows: list[dict]) -> bytes:
    """Draws accuracy over latency as a PNG, with the front as a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = dict.fromkeys(row["manifestation"] for row in rows)
    colors = {name: f"C{i}" for i, name in enumerate(names)}
    forms = dict.fromkeys((row["format"], row["precision"]) for row in rows)
    markers = dict(zip(forms, "osv^D<>PX*hd", strict=False))
    for row in rows:
        axes.plot(
            row["median_ms"],
            row["accuracy_percent"],
            markers[row["format"], row["precision"]],
            color=colors[row["manifestation"]],
            markersize=7,
        )
    line = front(rows)
    axes.step(
        [row["median_ms"] for row in line],
        [row["accuracy_percent"] for row in line],
        where="post",
        color="0.6",
        zorder=0,
    )
    for name, color in colors.items():
        axes.plot([], [], "s", color=color, label=name)
    for (form, precision), marker in markers.items():
        axes.plot([], [], marker, color="0.3", label=f"{form}, {precision}")
    axes.set_xscale("log")
    axes.set_xlabel("median latency of one image, ms")
    axes.set_ylabel("accuracy, %")
    axes.set_title("One trained net in every form; the line has the best choices")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
