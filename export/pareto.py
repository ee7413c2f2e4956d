"""Picks the Pareto front: artefacts more accurate than every cheaper one.

Those that fail their gate do not count, because no export would write them.
"""

from cnet_tf.line_error import LineError

# Scores to compare artefacts by, the first one that was measured: key, text.
SCORES = {
    "accuracy_percent": "accuracy, %",
    "same_label_percent": "same label as the net as trained, %",
}


class BudgetError(LineError):
    """No artefact fits a budget. The message is one line."""


def score_of(rows: list[dict]) -> str:
    """Returns the first key of `SCORES` that the rows have."""
    return next(key for key in SCORES if rows[0].get(key) is not None)


def best(rows: list[dict], milliseconds=None, kilobytes=None) -> dict:
    """Finds the most accurate row within a budget; among equals, the fastest.

    Args:
        rows: From `survey.measured`.
        milliseconds: Largest median latency, or None.
        kilobytes: Largest size, or None.

    Raises:
        BudgetError: none fits, or none passes its gate.
    """
    passing = _passing(rows)
    if not passing:
        raise BudgetError(
            "--budget_ms, --budget_kb: expected artefacts that agree with Keras. "
            "Received none, see the column gate: add --precisions with more bits."
        )
    fitting = [
        row
        for row in passing
        if (milliseconds is None or row["median_ms"] <= milliseconds)
        and (kilobytes is None or row["size_kb"] <= kilobytes)
    ]
    if not fitting:
        quickest = min(row["median_ms"] for row in passing)
        smallest = min(row["size_kb"] for row in passing)
        raise BudgetError(
            f"--budget_ms, --budget_kb: expected a budget that some artefact fits. "
            f"Received {milliseconds} ms and {kilobytes} kB: the quickest takes "
            f"{quickest} ms, the smallest {smallest} kB."
        )
    score = score_of(rows)
    return max(fitting, key=lambda row: (row[score], -row["median_ms"]))


def front(
    rows: list[dict], cost: str = "median_ms", score: str | None = None
) -> list[dict]:
    """Finds the rows whose score no cheaper row reaches, the cheapest first.

    Args:
        rows: Dicts of numbers.
        cost: Key to minimise. Default: the latency.
        score: Key to maximise. Default: `score_of` the rows.
    """
    score = score or score_of(rows)
    kept = []
    for row in sorted(_passing(rows), key=lambda row: (row[cost], -row[score])):
        if not kept or row[score] > kept[-1][score]:
            kept.append(row)
    return kept


def _passing(rows) -> list[dict]:
    return [row for row in rows if row.get("passes_gate", True)]
