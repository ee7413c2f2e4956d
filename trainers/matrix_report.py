"""The tables, picture and data of `trainers/matrix.py`."""

import math

from cnet_tf import escaping
from trainers import results

STATISTICS = ("as trained", "recalibrated", "private")
_HALF = 0.5  # Of the range of colours; on darker cells the text is white.


def files(rows, remarks=()) -> dict[str, bytes]:
    """Returns the contents of the result files by name.

    Args:
        rows: From `matrix.scored`, of all runs.
        remarks: Sentences about the images.
    """
    return {
        "matrix.csv": results.csv_of(rows),
        "matrix.md": f"{markdown(rows, remarks)}\n".encode(),
        "matrix.png": picture(rows),
    }


def trained_as(row) -> str:
    return f"{row['trained_scheme']}:{row['trained_steps']}"


def tested_as(row) -> str:
    return f"{row['scheme']}:{row['steps']}"


def panels(rows) -> dict:
    """Groups cells {(run, column): row} by (statistics, reading); skips compressed."""
    found = {}
    for row in rows:
        if row["nodes"] is None:
            panel = found.setdefault((row["statistics"], row["reading"]), {})
            panel[row["run"], tested_as(row)] = row
    by_kind = sorted(found, key=lambda key: (key[1], STATISTICS.index(key[0])))
    return {key: found[key] for key in by_kind}


def markdown(rows, remarks=()) -> str:
    """Returns a table for each statistics and reading, and one of compressed nets."""
    runs = {row["run"]: trained_as(row) for row in rows}
    columns = _columns(rows)
    lines = []
    for (statistics, reading), cells in panels(rows).items():
        lines += [
            f"Accuracy in %, batch norms {statistics}, theta: {reading}; * as trained.",
            "",
            results.table(
                {
                    **_run(run, runs),
                    **{column: _cell(cells.get((run, column))) for column in columns},
                }
                for run in runs
                if any((run, column) in cells for column in columns)
            ),
            "",
        ]
    lines += _compressed(rows, runs)
    lines += [escaping.markdown(text) for text in dict.fromkeys(remarks) if text]
    return "\n".join(lines).rstrip()


def _run(run, runs) -> dict:
    return {"run": escaping.markdown(run), "trained": runs[run]}


def _columns(rows) -> list[str]:
    return list(dict.fromkeys(tested_as(row) for row in rows if row["nodes"] is None))


def _cell(row) -> str:
    if row is None:
        return ""
    return _percent(row) + (" *" if row["trained"] else "")


def _percent(row) -> str:
    return results.percent(row["accuracy"])


def _compressed(rows, runs) -> list[str]:
    """Returns the lines of a table run x K', in the manifestation trained."""
    small = [row for row in rows if row["nodes"] is not None]
    if not small:
        return []
    sizes = list(dict.fromkeys(row["nodes"] for row in small))
    kinds = list(dict.fromkeys((r["reading"], r["statistics"]) for r in small))
    cells = {
        (r["run"], r["nodes"], r["reading"], r["statistics"]): _percent(r)
        for r in small
    }
    table = []
    for run in runs:
        for reading in dict.fromkeys(reading for reading, _ in kinds):
            shown = {
                f"K' = {size}, {kind}": cells.get((run, size, reading, kind), "")
                for size in sizes
                for _, kind in kinds
            }
            if any(shown.values()):
                table.append({**_run(run, runs), "theta": reading, **shown})
    return [
        "Accuracy in % of the weights projected to K' functions, as trained otherwise.",
        "",
        results.table(table),
        "",
    ]


def picture(rows) -> bytes:
    """Draws a heat map per kind of statistics and reading, cells as trained framed."""
    import numpy as np
    from matplotlib.patches import Rectangle

    runs = {row["run"]: trained_as(row) for row in rows}
    columns, shown = _columns(rows), panels(rows)
    size = (1.5 + 0.8 * len(columns)), (1.5 + 0.5 * len(runs))
    figure = results.figure(size[0] * len(shown), size[1])
    finite = [100 * r["accuracy"] for r in rows if not math.isnan(r["accuracy"])]
    low, high = min(finite, default=0), max(finite, default=100)
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, ((statistics, reading), cells) in zip(grid, shown.items(), strict=True):
        values = np.full((len(runs), len(columns)), np.nan)
        for i, run in enumerate(runs):
            for j, column in enumerate(columns):
                if (row := cells.get((run, column))) is None:
                    continue
                values[i, j] = 100 * row["accuracy"]
                dark = (values[i, j] - low) / max(high - low, 1e-9) < _HALF
                axes.text(
                    *(j, i, _percent(row)),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else "black",
                )
                if row["trained"]:
                    axes.add_patch(
                        Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, linewidth=2)
                    )
        axes.imshow(values, vmin=low, vmax=high, aspect="auto")
        axes.set_xticks(range(len(columns)), columns, rotation=45, fontsize=8)
        labels = [escaping.plot(f"{run} ({trained})") for run, trained in runs.items()]
        axes.set_yticks(range(len(runs)), labels, fontsize=8)
        axes.set_title(f"{statistics}, theta: {reading}", fontsize=9)
        axes.set_xlabel("evaluated as")
    grid[0].set_ylabel("trained as")
    return results.png_of(figure)
