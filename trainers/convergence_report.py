"""Table, picture and data of `trainers/converge.py`."""

import dataclasses
import json
import math

from cnet_tf import escaping, step_verdict
from cnet_tf.observed_order import Part
from cnet_tf.step_verdict import Interval, Verdict
from cnet_tf.sweep_plan import MIXED
from cnet_tf.tableaus import get_scheme
from trainers import results


@dataclasses.dataclass(frozen=True)
class Study:
    """One net: what was observed, and the verdict on each part."""

    name: str
    remark: str
    parts: list[Part]
    verdicts: list[Verdict]


def files(studies) -> dict[str, bytes]:
    """Returns the contents of the result files by name.

    Args:
        studies: `Study`s of nets with the same parts.
    """
    return {
        "convergence.csv": _csv(studies),
        "convergence.md": f"{markdown(studies)}\n".encode(),
        "convergence.png": picture(studies),
        "convergence.json": _json(studies),
    }


def verdicts(studies) -> list[Verdict]:
    """Returns the verdict on each part, over all runs."""
    if len(studies) == 1:
        return studies[0].verdicts
    columns = zip(*(study.verdicts for study in studies), strict=True)
    return [step_verdict.of_runs(list(column)) for column in columns]


def markdown(studies) -> str:
    """Returns the table of verdicts, and how to read it."""
    rows = verdicts(studies)
    others = [scheme for scheme in rows[0].orders if scheme != rows[0].scheme]
    answers = "accuracy" if rows[0].labelled else "same answers"
    recalibrated = any(row.recalibrated for row in rows)
    table = results.table(
        {
            "block": escaping.markdown(row.part),
            "as trained": f"{row.scheme}, N = {row.steps}",
            "order": _shown(row.orders.get(row.scheme), "{:.2f}"),
            **{f"order, {s}": _shown(row.orders.get(s), "{:.2f}") for s in others},
            "floor": _shown(row.floor, "{:.3g}"),
            "dip": _shown(row.dip, "{:.2f}"),
            f"{answers}, %": f"{100 * (1 - row.wrong):.2f}",
            "in the limit": _points(row.fall),
            **({"recalibrated": _points(row.recalibrated)} if recalibrated else {}),
            "verdict": row.text,
        }
        for row in rows
    )
    over = "runs" if len(studies) > 1 else "95 % of draws of the images"
    images = len(studies[0].parts[0].size)
    names = ", ".join(escaping.markdown(study.name) for study in studies)
    remarks = dict.fromkeys(s.remark for s in studies if s.remark)
    legend = (
        f"{names}; {images} images. In brackets: {over}. order: error ~ h^order as "
        "observed. floor: distance from the net as trained to the limit of its "
        "equation, relative to what the block does. dip: error at the step of the "
        "training over that of its neighbours, 1 for a power law. In the limit: change "
        "in points"
        + ("; recalibrated: batch norms re-estimated there. " if recalibrated else ". ")
        + " ".join(map(escaping.markdown, remarks))
    )
    return f"{table}\n\n{legend}".rstrip()


def _points(fall: Interval | None) -> str:
    """Shows a fall in [0, 1] as a change in points."""
    if fall is None:
        return "-"
    ends = (fall.value, fall.high, fall.low)
    return _shown(Interval(*(0.0 - 100 * x for x in ends)), "{:+.2f}")


def _shown(interval, form) -> str:
    if interval is None or not math.isfinite(interval.value):
        return "-"
    ends = f"{form}..{form}".format(interval.low, interval.high)
    return f"{form.format(interval.value)} ({ends})"


def _csv(studies) -> bytes:
    rows = []
    for study in studies:
        for part in study.parts:
            for scheme in part.curves:
                errors = step_verdict.relative(part, scheme)
                for i, factor in enumerate(part.factors):
                    row = {
                        "run": study.name,
                        "block": part.name,
                        "scheme": scheme,
                        "factor": factor,
                        "trained": scheme == part.scheme and factor == 1,
                        "error": errors[i].value,
                        "error_low": errors[i].low,
                        "error_high": errors[i].high,
                        "wrong": part.errors[scheme][i].mean(),
                    }
                    rows.append(row)
    return results.csv_of(rows)


def _json(studies) -> bytes:
    found = {
        "verdicts": [_plain(dataclasses.asdict(v)) for v in verdicts(studies)],
        "runs": {
            study.name: [_plain(dataclasses.asdict(v)) for v in study.verdicts]
            for study in studies
        },
        "images": len(studies[0].parts[0].size),
        "remarks": [study.remark for study in studies],
    }
    return (json.dumps(found, indent=2, allow_nan=False) + "\n").encode()


def _plain(value):
    """Replaces numbers that are not finite by null, as JSON has none."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def picture(studies) -> bytes:
    """Draws a PNG: for each part log error over log step, a line per scheme and run."""
    names = [part.name for part in studies[0].parts]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = results.figure(3.6 * columns, 3.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.remove()
    for i, axes in enumerate(grid[: len(names)]):
        for study in studies:
            _draw(axes, study.parts[i], labels=study is studies[0])
        text = verdicts(studies)[i].text
        axes.set_title(f"{escaping.plot(names[i])}: {text}", fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("step / step of the training")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("relative error of the state")
    grid[0].legend(fontsize=8)
    figure.suptitle("star: as trained; dotted: the order of the scheme", fontsize=9)
    return results.png_of(figure)


def _draw(axes, part, labels):
    for i, scheme in enumerate(part.curves):
        color = f"C{i}"
        errors = step_verdict.relative(part, scheme)
        points = [
            (1 / float(f), e.value)
            for f, e in zip(part.factors, errors, strict=True)
            if 0 < e.value < math.inf
        ]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=4)
        if labels:
            axes.plot([], [], "o-", color=color, label=scheme)
        if scheme == part.scheme:
            own = [(h, e) for h, e in points if h == 1]
            axes.plot(*zip(*own, strict=True), "*", color=color, markersize=14)
        if scheme != MIXED:  # The scheme's own slope, through the finest point.
            h0, e0 = points[-1]
            order = get_scheme(scheme).order
            ends = h0, 4 * h0
            slope = [e0 * (h / h0) ** order for h in ends]
            axes.plot(ends, slope, ":", color=color, linewidth=1)
