"""The last recorded table of each kind of machine, and how a new one compares with it.

    {kind of machine: {"recorded": day, "git": revision, "rows": [{net, peer, ..}]}}

It gives no verdict: the same machine is not always equally fast. R, which is relative
to a matrix product in the same process, says more than images/s.
"""

import datetime
import json
import pathlib

from cnet_tf.atomic_file import write_json

RECORD = pathlib.Path(__file__).with_name("record.json")
# The columns to compare, with their labels.
_SPEEDS = {"images_per_second": "images/s", "R": "R"}
_KEPT = ("net", "peer", *_SPEEDS)


def compared(rows: list[dict], kind: str, path=None) -> str:
    """Returns the ratios new / recorded, in readable lines.

    Args:
        rows: From `figures.rows_of`.
        kind: The kind of this machine.
        path: Path of the record. Default: `RECORD`.
    """
    last = _read(path or RECORD).get(kind)
    if last is None:
        return (
            f"No table is recorded for this kind of machine ({kind}). To record this "
            "one, run the command with --record on an otherwise idle machine."
        )
    known = {(row["net"], row["peer"]): row for row in last["rows"]}
    lines = [f"Relative to the table recorded on {last['recorded']} at {last['git']}:"]
    for row in rows:
        old = known.get((row["net"], row["peer"]))
        ratios = (
            f"{row[key] / old[key]:.2f} x {words}"
            for key, words in _SPEEDS.items()
            if old
        )
        told = ", ".join(ratios) or "not recorded"
        lines.append(f"  {row['net']}, {row['peer']}: {told}")
    return "\n".join(lines)


def record(rows: list[dict], kind: str, git: str | None, path=None):
    """Replaces the table of this kind of machine."""
    table = [{key: row[key] for key in _KEPT} for row in rows]
    day = datetime.date.today().isoformat()
    entry = {"recorded": day, "git": git or "unknown", "rows": table}
    write_json(path or RECORD, {**_read(path or RECORD), kind: entry})


def _read(path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}
