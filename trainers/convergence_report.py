"""Table, picture and data of `trainers/converge.py`."""

import csv
import dataclasses
import io
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
    recalibrated = ["recalibrated"] * any(row.recalibrated for row in rows)
    header = [
        *("block", "as trained", "order", *(f"order, {s}" for s in others)),
        *("floor", "dip", f"{answers}, %", "in the limit", *recalibrated, "verdict"),
    ]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in rows:
        cells = [
            escaping.markdown(row.part),
            f"{row.scheme}, N = {row.steps}",
            *(_shown(row.orders.get(s), "{:.2f}") for s in (row.scheme, *others)),
            _shown(row.floor, "{:.3g}"),
            _shown(row.dip, "{:.2f}"),
            f"{100 * (1 - row.wrong):.2f}",
            _shown(_change(row.fall), "{:+.2f}"),
            *(_shown(_change(row.recalibrated), "{:+.2f}") for _ in recalibrated),
            row.text,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    over = "runs" if len(studies) > 1 else "95 % of draws of the images"
    images = len(studies[0].parts[0].size)
    names = ", ".join(escaping.markdown(study.name) for study in studies)
    remarks = dict.fromkeys(s.remark for s in studies if s.remark)
    lines += [
        "",
        f"{names}; {images} images. In brackets: {over}. order: error ~ h^order as "
        "observed. floor: distance from the net as trained to the limit of its "
        "equation, relative to what the block does. dip: error at the step of the "
        "training over that of its neighbours, 1 for a power law. In the limit: change "
        "in points"
        + ("; recalibrated: batch norms re-estimated there. " if recalibrated else ". ")
        + " ".join(map(escaping.markdown, remarks)),
    ]
    return "\n".join(lines).rstrip()


def _change(fall: Interval | None) -> Interval | None:
    if fall is None:
        return None
    return Interval(*(0.0 - 100 * x for x in (fall.value, fall.high, fall.low)))


def _shown(interval, form) -> str:
    if interval is None or not math.isfinite(interval.value):
        return "-"
    ends = f"{form}..{form}".format(interval.low, interval.high)
    return f"{form.format(interval.value)} ({ends})"


def _csv(studies) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(
        "run block scheme factor trained error error_low error_high wrong".split()
    )
    for study in studies:
        for part in study.parts:
            for scheme in part.curves:
                errors = step_verdict.relative(part, scheme)
                for i, factor in enumerate(part.factors):
                    table.writerow(
                        [
                            escaping.cell(study.name),
                            escaping.cell(part.name),
                            scheme,
                            factor,
                            scheme == part.scheme and factor == 1,
                            *dataclasses.astuple(errors[i]),
                            part.errors[scheme][i].mean(),
                        ]
                    )
    return text.getvalue().encode()


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
