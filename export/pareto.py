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


def front(rows: list[dict], cost: str = "median_ms") -> list[dict]:
    """Finds the rows that none of a smaller cost equals in accuracy, by cost.

    Args:
        rows: From `survey.measured`.
        cost: A key of a row. Default: the latency.
    """
    kept = []
    for row in sorted(rows, key=lambda row: (row[cost], -row["accuracy_percent"])):
        if not kept or row["accuracy_percent"] > kept[-1]["accuracy_percent"]:
            kept.append(row)
    return kept
