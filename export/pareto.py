"""Picks the Pareto front of artefacts: none that costs less is as accurate."""


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
