"""The scheme x steps grid of a trained net: scores, table, picture."""

import dataclasses

from cnet_tf import escaping
from cnet_tf.any_depth import members_of, with_own_norms
from cnet_tf.manifestation import manifest, recalibrate
from cnet_tf.member_name import evaluations, manifestation_of, member_name
from cnet_tf.surgery import blocks_of
from trainers import results
from trainers.data import batches
from trainers.steps import accuracy_of, scorer

_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is scored, and on which images.

    Attributes:
        schemes: Names of schemes.
        steps: Step counts N.
        split: Split to score. Default `"test"`.
        examples: Number of examples to score. Default: all.
        recalibration_batches: Training batches to recalibrate on; 0 for none.
        augment: Augmentation of these batches. Give that of training: statistics of
            images without zero borders cost CIFAR-10 nets some 2.5 points.
        cutout: Side of the squares cut out of these images. Give that of training.
        restriction: How theta is read with fewer steps than cells. Default: as in
            training.
    """

    schemes: tuple[str, ...]
    steps: tuple[int, ...]
    split: str = "test"
    examples: int | None = None
    recalibration_batches: int = 20
    augment: str = "none"
    cutout: int = 0
    restriction: str | None = None


def scored(net, data, wanted: Grid, progress=lambda row: None) -> list[dict]:
    """Scores every manifestation (scheme, N); a net without blocks has just one.

    Args:
        net: A built net; its variables are the same afterwards.
        data: `trainers.data.ImageData`, normalised as in training.
        wanted: What to score.
        progress: Called with every row.

    Returns:
        Rows `{"scheme", "steps", "evaluations" (of the rate, per block), "trained"
        (whether it was trained: the net's own manifestation, or a member of an
        any-depth net, reading theta as in training), "split", "examples" (None for
        all), "restriction" (None: as trained), "accuracy", "loss",
        "recalibrated_accuracy"}`; accuracies in [0, 1], NaN where logits are not
        finite.
    """
    images = scored_images(data, wanted)
    found = [(block.scheme, block.steps) for block in blocks_of(net)]
    # None where blocks differ: no cell of the grid is that manifestation.
    own = found[0] if len(set(found)) == 1 else None
    members = [
        m for m in map(manifestation_of, members_of(net)) if isinstance(m[1], int)
    ]
    cells = (
        [(s, n) for s in wanted.schemes for n in wanted.steps]
        if found
        else [("fixed", None)]
    )
    learned = [*([own] if own else []), *members]
    cells = list(dict.fromkeys([*cells, *learned]))
    rows = []
    for scheme, n in cells:
        twin = net
        if found:
            twin = manifest(net, scheme, n, restriction=wanted.restriction)
        alike = reads_alike(net, n, wanted.restriction)
        row = {
            "scheme": scheme,
            "steps": n,
            "evaluations": evaluations(member_name(scheme, n)) if found else None,
            "trained": not found or ((scheme, n) in learned and alike),
            "split": wanted.split,
            "examples": _part(data, wanted),
            "restriction": wanted.restriction,
            **accuracies(twin, *images),
        }
        rows.append(row)
        progress(row)
    return rows


def reads_alike(net, steps, restriction) -> bool:
    """Whether N steps with a restriction read theta as with the net's own restriction.

    True if it is the net's own or None, or if there is a step for each cell.
    """
    return all(
        restriction in (None, block.restriction) or steps >= block.basis.cells
        for block in blocks_of(net)
    )


def _part(data, wanted) -> int | None:
    """Returns how many examples are scored, None for the whole split."""
    count = wanted.examples
    return count if count and count < data.sizes[wanted.split] else None


def scored_images(data, wanted: Grid) -> tuple:
    """Returns the batches to score on, and those to recalibrate on or None."""
    examples = batches.eval_batches(data, wanted.split, _BATCH, wanted.examples)
    count = wanted.recalibration_batches
    if not count:
        return examples, None
    return examples, batches.recalibration_batches(
        data, wanted.augment, count, wanted.cutout
    )


def accuracies(net, examples, images) -> dict:
    """Scores one net, which is the same afterwards.

    Args:
        net: A built net.
        examples, images: From `scored_images`.

    Returns:
        `{"accuracy", "loss", "recalibrated_accuracy"}`, the last None without images.
    """
    if images is not None:
        # At first it computes what the net does, so one graph serves both scores.
        net = with_own_norms(net)
    score = scorer(net)
    scores = score(examples)
    again = None
    if images is not None:
        recalibrate(net, images)
        again = accuracy_of(score(examples))
    return {
        "accuracy": accuracy_of(scores),
        "loss": scores["loss"],
        "recalibrated_accuracy": again,
    }


def line(row) -> str:
    """Formats one row as text, to show progress."""
    text = f"{row['scheme']} N={row['steps']}: {results.percent(row['accuracy'], ' %')}"
    if row["recalibrated_accuracy"] is not None:
        text += f", recalibrated {results.percent(row['recalibrated_accuracy'], ' %')}"
    return text


def markdown(rows, remark="") -> str:
    """Returns the table scheme x steps in percent; recalibrated after the slash.

    Args:
        rows: From `scored`.
        remark: A sentence on the data, to put below the table.
    """
    steps = sorted({row["steps"] or 0 for row in rows})
    cells = {(row["scheme"], row["steps"] or 0): row for row in rows}
    table = results.table(
        {
            "scheme": scheme,
            **{f"N = {n or 'fixed'}": _cell(cells.get((scheme, n))) for n in steps},
        }
        for scheme in dict.fromkeys(row["scheme"] for row in rows)
    )
    caption = "Accuracy in %"
    if any(row["recalibrated_accuracy"] is not None for row in rows):
        caption += ", batch norms as trained / recalibrated"
    below = f"{caption}; * as trained. {escaping.markdown(remark)}".rstrip()
    return f"{table}\n\n{below}"


def _cell(row):
    if row is None:
        return ""
    text = results.percent(row["accuracy"])
    if row["recalibrated_accuracy"] is not None:
        text += f" / {results.percent(row['recalibrated_accuracy'])}"
    return text + (" *" if row["trained"] else "")


def contents(rows, remark="") -> dict[str, bytes]:
    """Returns the contents of grid.csv, grid.md and grid.png by name.

    Args:
        rows: From `scored`.
        remark: See `markdown`.
    """
    return {
        "grid.csv": results.csv_of(rows),
        "grid.md": f"{markdown(rows, remark)}\n".encode(),
        "grid.png": picture(rows),
    }


def picture(rows) -> bytes:
    """Draws a PNG: accuracy over cost, a line per scheme, dashed where recalibrated."""
    figure = results.figure(6.4, 4.2)
    axes = figure.subplots()
    for i, scheme in enumerate(dict.fromkeys(row["scheme"] for row in rows)):
        mine = sorted((row for row in rows if row["scheme"] == scheme), key=_cost)
        style = {"color": f"C{i}"}
        axes.plot(*_curve(mine, "accuracy"), "o-", label=scheme, **style)
        if mine[0]["recalibrated_accuracy"] is not None:
            dashed = _curve(mine, "recalibrated_accuracy")
            axes.plot(*dashed, "o--", alpha=0.5, **style)
        learned = [row for row in mine if row["trained"]]
        axes.plot(*_curve(learned, "accuracy"), "*", markersize=18, **style)
    results.cost_axis(axes, map(_cost, rows))
    axes.set_ylabel("accuracy, %")
    axes.set_title("One set of weights; star: as trained, dashed: recalibrated")
    axes.grid(alpha=0.3)
    axes.legend()
    return results.png_of(figure)


def _cost(row) -> int:
    return row["evaluations"] or 1


def _curve(rows, key) -> tuple[list, list]:
    return list(map(_cost, rows)), [100 * row[key] for row in rows]
