"""Plots scores of artefacts over latency and size, with budgets and the choice."""

import numpy as np

from cnet_tf.escaping import plot
from export.pareto import SCORES, front, score_of
from trainers import results

# Costs of an artefact: key of a row, label of the axis.
_COSTS = {"median_ms": "median latency of one image, ms", "size_kb": "size, kB"}
_DPI = 120
_POINTS = 7.0  # Size of a marker; 72 points per inch.
# Between the centres of two markers, in pixels.
_DISTANCE = 1.2 * _POINTS * _DPI / 72
# A colour that no manifestation has.
_BUDGET = "crimson"
_MARKERS = "osv^D<>PX*hd"


def picture(
    rows: list[dict], budgets: tuple = (None, None), chosen: dict | None = None
) -> bytes:
    """Draws rows as a PNG: one panel per cost, each with the Pareto front as a line.

    Markers that would hide one another are moved apart, with a line to their true
    positions.

    Args:
        rows: From `survey.measured`.
        budgets: Largest latency in ms and largest size in kB; None means no limit.
        chosen: The row to highlight. Default: none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    styles = _styles(rows)
    for axes, cost, budget in zip(panels, _COSTS, budgets, strict=True):
        _frame(axes, rows, cost, budget)
    panels[0].set_ylabel(SCORES[score_of(rows)])
    figure.suptitle("One trained net in every form; the lines join the best choices")
    _legend(figure, panels[0], styles, budgets, chosen)
    # Computes the layout, on which positions in pixels depend, then freezes it.
    canvas.draw()
    figure.set_layout_engine("none")
    for axes, cost in zip(panels, _COSTS, strict=True):
        _mark(axes, rows, cost, styles, chosen)
    return results.png_of(figure, _DPI)


def _styles(rows) -> tuple[dict, dict]:
    """Returns colours by manifestation, and markers by format and precision."""
    names = dict.fromkeys(row["manifestation"] for row in rows)
    forms = dict.fromkeys((row["format"], row["precision"]) for row in rows)
    colors = {name: f"C{i % 10}" for i, name in enumerate(names)}
    markers = {form: _MARKERS[i % len(_MARKERS)] for i, form in enumerate(forms)}
    return colors, markers


def _frame(axes, rows, cost, budget):
    """Fits the axes to rows and budget, draws the front, shades what exceeds it."""
    line, score = front(rows, cost), score_of(rows)
    axes.step(
        [row[cost] for row in line],
        [row[score] for row in line],
        where="post",
        color="0.6",
        zorder=0,
    )
    costs = [row[cost] for row in rows] + ([budget] if budget else [])
    axes.set_xscale("log")
    axes.set_xlim(0.8 * min(costs), 1.25 * max(costs))
    scores = [row[score] for row in rows]
    room = 0.08 * (max(scores) - min(scores)) + 0.2
    axes.set_ylim(min(scores) - room, max(scores) + room)
    if budget is not None:
        axes.axvline(budget, color=_BUDGET, linestyle="--", zorder=0)
        axes.axvspan(budget, 10 * max(costs), color="0.94", zorder=-1)
    axes.set_xlabel(_COSTS[cost])
    axes.grid(alpha=0.3)


def _legend(figure, axes, styles, budgets, chosen):
    """Adds a legend of colours, markers and lines beside the panels."""
    colors, markers = styles
    for name, color in colors.items():
        axes.plot([], [], "s", color=color, label=plot(name))
    for (form, precision), marker in markers.items():
        axes.plot([], [], marker, color="0.3", label=f"{form}, {precision}")
    if any(budget is not None for budget in budgets):
        axes.plot([], [], "--", color=_BUDGET, label="budget")
    if chosen:
        axes.plot([], [], "o", **_RING, label="best within the budget")
    figure.legend(fontsize="small", loc="outside right center")


_RING = {
    "markersize": 2.2 * _POINTS,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 1.5,
}


def _mark(axes, rows, cost, styles, chosen):
    """Draws a marker for each row, where it does not hide another."""
    colors, markers = styles
    rows = sorted(rows, key=lambda row: row is not chosen)  # The first is not moved.
    score = score_of(rows)
    points = [(row[cost], row[score]) for row in rows]
    moved = spread(axes.transData.transform(points), _DISTANCE)
    for row, point, place in zip(
        rows, points, axes.transData.inverted().transform(moved), strict=True
    ):
        color = colors[row["manifestation"]]
        axes.plot(*zip(point, place, strict=True), color=color, linewidth=0.8)
        axes.plot(
            *place,
            markers[row["format"], row["precision"]],
            color=color,
            markersize=_POINTS,
            clip_on=False,
        )
        if row is chosen:
            axes.plot(*place, "o", clip_on=False, **_RING)


def spread(points, distance: float) -> np.ndarray:
    """Moves points apart until no two are closer than a distance.

    The first point of a cluster stays; each later one moves to the nearest free place
    on rings around its own position.

    Args:
        points: (n, 2), in screen units.
        distance: > 0.

    Returns:
        (n, 2); points far from all others are unchanged.
    """
    points = np.asarray(points, "float64")
    offsets = distance * _rings(len(points))
    placed = np.empty((0, 2))
    for point in points:
        places = point + offsets
        gaps = np.linalg.norm(places[:, None] - placed, axis=-1)
        free = (gaps >= distance).all(axis=1)
        placed = np.concatenate([placed, places[free.argmax()][None]])
    return placed


def _rings(count: int) -> np.ndarray:
    """Returns offsets of growing length, more than `count` points can block.

    Each point blocks at most three of the twelve offsets of a ring.
    """
    angles = np.pi / 2 + np.linspace(0, 2 * np.pi, 12, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = 1.05 * np.arange(1, count + 1)
    return np.concatenate([np.zeros((1, 2)), *(radius * circle for radius in radii)])
