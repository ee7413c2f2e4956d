"""Numbers, pictures and summaries of `trainers/inside.py`."""

import dataclasses

import numpy as np
import tensorflow as tf

from cnet_tf import escaping
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.trajectory import TappedNet, in_form, per_channel, squares, states, theta
from trainers import disk, results

_KINDS = ("norm", "distance", "error")


@dataclasses.dataclass(frozen=True)
class Course:
    """The states of one block, over t = 0, 1/N, .., 1; root mean squares over examples.

    Attributes:
        block: Its name.
        norm: |h(t)|.
        distance: |h(t) - h(0)|.
        error: |h(t) - the state with finer steps|.
    """

    block: str
    norm: np.ndarray
    distance: np.ndarray
    error: np.ndarray

    @property
    def depths(self) -> np.ndarray:
        return np.linspace(0, 1, len(self.norm))


def courses(tapped: TappedNet, batches, refined: int) -> list[Course]:
    """Returns the course of every block, each from the state that the net feeds it.

    Args:
        tapped: The net.
        batches: Pairs whose first entries are inputs.
        refined: Steps of the reference for each step of the net, at least two.

    Raises:
        ValueError: more steps than a block may have.
    """
    flows = tapped.flows
    fine = [in_form(flow, flow.scheme, flow.steps * refined) for flow in flows]
    totals, examples = [0.0] * len(fine), 0
    for inputs, _ in batches:
        examples += len(inputs)
        for i, (x, mask) in enumerate(tapped.starts(inputs)):
            path = states(tapped.flows[i], x, mask)
            reference = states(fine[i], x, mask)[::refined]
            sums = [
                [squares([h]).sum(), squares([h], [x]).sum(), squares([h], [y]).sum()]
                for h, y in zip(path, reference, strict=True)
            ]
            totals[i] = totals[i] + np.array(sums)
    return [
        Course(flow.name, *np.sqrt(total / examples).T)
        for flow, total in zip(tapped.flows, totals, strict=True)
    ]


def thetas(tapped: TappedNet) -> dict:
    """Returns the depths and curves theta(t) of every block, see `trajectory.theta`.

    Plain nets have none: their units need not have the same weights.
    """
    blocks = [flow for flow in tapped.flows if isinstance(flow, ContinuousBlock)]
    return {block.name: theta(block) for block in blocks}


def files(courses, curves) -> dict[str, bytes]:
    """Returns the contents of the result files by name."""
    found = {"states.csv": _csv(courses), "inside.png": picture(courses)}
    return found | ({"theta.png": theta_picture(curves)} if curves else {})


def _csv(courses) -> bytes:
    return results.csv_of(
        [
            {
                "block": course.block,
                "t": depth,
                **{kind: getattr(course, kind)[i] for kind in _KINDS},
            }
            for course in courses
            for i, depth in enumerate(course.depths)
        ]
    )


def markdown(courses) -> str:
    """Returns a row per block: its start, its change, and the error at its end."""
    rows = []
    for course in courses:
        moved, error = course.distance[-1], course.error[-1]
        row = {
            "block": escaping.markdown(course.block),
            "steps": str(len(course.norm) - 1),
            "norm of h(0)": f"{course.norm[0]:.4g}",
            "of h(1)": f"{course.norm[-1]:.4g}",
            "h(1) - h(0)": f"{moved:.4g}",
            "error of h(1)": f"{error:.3g}",
            "relative": f"{error / moved:.3g}" if moved else "-",
        }
        rows.append(row)
    return results.table(rows)


def picture(courses) -> bytes:
    """Draws a PNG: a column per block, norms above and errors below, over t."""
    figure = results.figure(3.4 * len(courses), 5.2)
    grid = figure.subplots(2, len(courses), squeeze=False, sharex=True)
    for (above, below), course in zip(grid.T, courses, strict=True):
        above.plot(course.depths, course.norm, "o-", label="|h(t)|")
        above.plot(course.depths, course.distance, "o-", label="|h(t) - h(0)|")
        above.set_title(escaping.plot(course.block), fontsize=9)
        above.set_ylim(bottom=0)
        below.plot(course.depths, course.error, "o-", color="C3")
        below.set_xlabel("t")
        below.set_ylim(bottom=0)
        for axes in (above, below):
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=8)
    grid[1, 0].set_ylabel("error of h(t)")
    return results.png_of(figure, dpi=100)


def theta_picture(curves) -> bytes:
    """Draws a PNG: a row per series, a column per block, a line per channel, over t."""
    rows = max(len(found) for _, found in curves.values())
    figure = results.figure(3.0 * len(curves), 1.7 * rows)
    grid = figure.subplots(rows, len(curves), squeeze=False, sharex=True)
    for column, (block, (depths, found)) in zip(grid.T, curves.items(), strict=True):
        for axes, (name, curve) in zip(column, found.items(), strict=False):
            axes.plot(depths, per_channel(curve), linewidth=0.8)
            title = f"{block}: {name}" + ", norms" * (curve.ndim > 2)
            axes.set_title(escaping.plot(title), fontsize=7)
            axes.tick_params(labelsize=6)
        for axes in column[len(found) :]:
            axes.remove()
    return results.png_of(figure, dpi=100)


def summarise(folder, courses, curves, files) -> None:
    """Writes summaries for TensorBoard, whose step is the number of a step in a block.

    Args:
        folder: Folder for the event files.
        courses, curves: From `courses` and `thetas`.
        files: From `files`; its pictures are shown too.

    Raises:
        OptionError: the folder cannot be written; names `--output`.
    """
    with disk.writing("output", tf.errors.OpError):
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default():
            for course in courses:
                for kind in _KINDS:
                    for n, value in enumerate(getattr(course, kind)):
                        tf.summary.scalar(f"{course.block}/{kind}", value, step=n)
            for block, (depths, found) in curves.items():
                for name, curve in found.items():
                    for n in range(len(depths)):
                        tf.summary.histogram(f"{block}/{name}", curve[n], step=n)
            for name, content in files.items():
                if name.endswith(".png"):
                    image = tf.io.decode_png(content, channels=3)[None]
                    tf.summary.image(name, image, step=0)
        writer.close()
