"""Files of a report, report.csv, report.md and pareto.png, from rows of `survey`."""

from cnet_tf import escaping
from export import pareto
from export.pareto_picture import picture
from trainers import results

_FAILED = (
    "Artefacts whose gate failed are none to choose: their export would be refused."
)


def line(row) -> str:
    """Formats a row as a progress line."""
    return (
        f"{escaping.line(row['manifestation'])} {row['format']} {row['precision']}: "
        f"{_score(row)}, {row['median_ms']:.3g} ms, "
        f"{row['size_kb']:,.0f} kB"
    )


def _score(row) -> str:
    score = pareto.score_of([row])
    words = "" if score == "accuracy_percent" else "same label "
    return f"{words}{row[score]:.2f} %"


def markdown(rows, unmeasured: str = "") -> str:
    """Formats the report as a Markdown table.

    Args:
        rows: From `survey.measured`.
        unmeasured: A sentence on what could not be measured. Default: empty.
    """
    score = pareto.score_of(rows)
    table = results.table(
        {
            "manifestation": row["manifestation"],
            "format": row["format"],
            "precision": row["precision"],
            pareto.SCORES[score]: f"{row[score]:.2f}",
            "Keras, %": f"{row[f'keras_{score}']:.2f}",
            "max abs delta logits": f"{row['max_abs_delta_logits']:.1e}",
            "gate": "passed" if row["passes_gate"] else "failed",
            "size, kB": f"{row['size_kb']:,.0f}",
            "M MACs": _millions(row["macs"]),
            "latency, ms (5..95 %)": f"{row['median_ms']:.3g} "
            f"({row['p5_ms']:.3g}..{row['p95_ms']:.3g})",
            "peak memory, MB": f"{row['peak_memory_mb']:,}",
        }
        for row in rows
    )
    failed = "" if all(row["passes_gate"] for row in rows) else _FAILED
    return "\n\n".join(filter(None, (table, failed, unmeasured)))


def contents(
    rows,
    budgets: tuple = (None, None),
    chosen: dict | None = None,
    unmeasured: str = "",
) -> dict[str, bytes]:
    """Returns the contents of report.csv, report.md and pareto.png by name.

    Args:
        rows: From `survey.measured`.
        budgets, chosen: See `picture`.
        unmeasured: See `markdown`.
    """
    return {
        "report.csv": results.csv_of(rows),
        "report.md": f"{markdown(rows, unmeasured)}\n".encode(),
        "pareto.png": picture(rows, budgets, chosen),
    }


def _millions(macs) -> str:
    return "not counted" if macs is None else f"{macs / 1e6:,.1f}"
