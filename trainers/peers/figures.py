"""Rows of the tables of a comparison.

    images/s = batch / median(seconds of a step)
    ahead    = median over rounds of (seconds of theirs / MACs of theirs)
                                   / (seconds of ours / MACs of ours)
    R        = 6 MACs images/s / (2 n^3 / median(seconds of a product of n x n))

A training step takes three times the multiply-adds of its forward pass: for the output,
for the gradient of the input and for that of the kernel. So R is the speed of the whole
step as a fraction of that of a large matrix product.
"""

import statistics

from trainers import results
from trainers.peers.comparison import Found
from trainers.peers.programs.turns import SIZE
from trainers.peers.table import PEERS


def rows_of(net: str, found: dict[str, Found], batch: int) -> list[dict]:
    """Returns a row per peer; others are compared with the first one of `found`."""
    first = next(iter(found.values()))
    return [_row(net, name, one, first, batch) for name, one in found.items()]


def _row(net, name, found, first, batch):
    step, macs = statistics.median(found.steps), found.size["macs"]
    product = 2 * SIZE**3 / statistics.median(found.products)
    beside = zip(found.steps, found.first or found.steps, strict=True)
    ahead = statistics.median(theirs / ours for theirs, ours in beside)
    return {
        "net": net,
        "peer": name,
        "images_per_second": results.digits(batch / step),
        "lowest": results.digits(batch / max(found.steps)),
        "highest": results.digits(batch / min(found.steps)),
        "ahead": results.digits(ahead * first.size["macs"] / macs),
        "R": results.digits(6 * macs * batch / step / product),
        "sgemm_gflops": results.digits(product / 1e9),
        **start_of(found.start),
        "memory_mb": round(found.memory / 1e6),
        **found.size,
    }


def start_of(start: dict) -> dict:
    """Returns the columns of the parts of a start, and of their sum."""
    parts = {f"{part}_s": results.digits(seconds) for part, seconds in start.items()}
    return {**parts, "start_s": results.digits(sum(start.values()))}


def mismatches(rows: list[dict]) -> list[str]:
    """Returns a line per peer that claims the first one's net but has another."""
    lines, expected = [], {}
    for row in (row for row in rows if PEERS[row["peer"]].same):
        net, peer = row["net"], row["peer"]
        size = {key: row[key] for key in ("parameters", "macs")}
        wanted = expected.setdefault(net, size)
        if size != wanted:
            lines.append(f"{net}, {peer}: expected {wanted}. Received {size}")
    return lines


# Columns of the Markdown tables: header text, function of a row to a cell.
TRAINING = {
    "net": lambda row: row["net"],
    "peer": lambda row: PEERS[row["peer"]].title,
    "images/s": lambda row: f"{row['images_per_second']:.0f}",
    "spread": lambda row: f"{row['lowest']:.0f}-{row['highest']:.0f}",
    "ours / theirs": lambda row: f"{row['ahead']:.2f} x",
    "R": lambda row: f"{row['R']:.2f}",
    "SGEMM, GFLOP/s": lambda row: f"{row['sgemm_gflops']:.0f}",
    "start, s": lambda row: f"{row['start_s']:.1f}",
    "import, build, first, s": lambda row: ", ".join(
        f"{row[f'{part}_s']:.1f}" for part in ("import", "build", "first")
    ),
    "peak memory, MB": lambda row: f"{row['memory_mb']:,}",
    "parameters": lambda row: f"{row['parameters']:,}",
    "M MACs": lambda row: f"{row['macs'] / 1e6:.1f}",
}
STARTING = {
    "K = N": lambda row: str(row["nodes"]),
    **{key: TRAINING[key] for key in ("peer", "start, s", "import, build, first, s")},
    "peak memory, MB": TRAINING["peak memory, MB"],
}


def markdown(rows: list[dict], columns: dict) -> str:
    """Returns a Markdown table."""
    return results.table(
        {name: cell(row) for name, cell in columns.items()} for row in rows
    )
