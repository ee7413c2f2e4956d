"""Names of run directories: <name>-<date>-<time>[-<number>]."""

import datetime
import itertools
import pathlib
import re

# File systems allow 255 bytes; date, number and temporary names need some of them.
MOST_BYTES = 100
_STAMP = "%Y%m%d-%H%M%S"
_NAME = re.compile(r"(?P<first>.*)-(?P<stamp>\d{8}-\d{6})(?:-(?P<number>\d+))?")
# Characters that some system does not allow in file names.
_NO_NAME = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
EXPECTED = (
    f"the name of a folder: at most {MOST_BYTES} bytes, neither a path nor beginning "
    'with "." or "-"'
)


def is_name(text: str) -> bool:
    """Whether a text may be the first part of a name."""
    return (
        bool(text.strip())
        and text[0] not in ".- "
        and not _NO_NAME.search(text)
        and text.isprintable()
        and len(text.encode()) <= MOST_BYTES
    )


def first_part(options) -> str:
    """Returns `--name`, or data set and net, with the middle cut out if too long."""
    if options.name:
        return options.name
    net = pathlib.Path(options.model).stem if options.model else options.preset
    name = f"{options.dataset}-{net}".replace("folder:", "folder")
    name = "".join(c if c.isprintable() else "-" for c in name)
    name = _NO_NAME.sub("-", name).strip(".- ") or "run"
    encoded, half = name.encode(), MOST_BYTES // 2 - 1
    if len(encoded) <= MOST_BYTES:
        return name
    # Incomplete characters at the cut are dropped.
    start, end = encoded[:half].decode(errors="ignore"), encoded[-half:]
    return f"{start}..{end.decode(errors='ignore')}"


def first_part_of(run: pathlib.Path) -> str:
    """Returns the first part of the name of a run directory."""
    found = _NAME.fullmatch(run.name)
    return found["first"] if found else run.name


def order(run: pathlib.Path) -> tuple:
    """Sort key of runs: when they were made; folders with other names come first."""
    found = _NAME.fullmatch(run.name)
    if not found:
        return "", 0, run.name
    return found["stamp"], int(found["number"] or 0), run.name


def new_names(first: str, runs):
    """Yields names to try for a new run, each of which sorts after all existing runs.

    The clock may have been set back since those were made.

    Args:
        first: The first part.
        runs: Paths of the existing runs.
    """
    now = datetime.datetime.now().strftime(_STAMP)
    last, number, _ = max(map(order, runs), default=("", 0, ""))
    stamp, start = (last, number + 1) if last >= now else (now, 0)
    for i in itertools.count(start):
        yield f"{first}-{stamp}" + (f"-{i}" if i else "")
