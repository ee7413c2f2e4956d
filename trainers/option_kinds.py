"""What an option may be: how its text is read, which values are right, in words.

    option(0.1, number("(0, 1]"), "What schedule 'step' multiplies by")

A new kind of option is a `Kind`; nothing branches on types.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Collection
from typing import Any

from cnet_tf.pretrained import run_directory, shipped


@dataclasses.dataclass(frozen=True)
class Kind:
    """The values of an option.

    Attributes:
        expected: One value in words, as in "expected an integer >= 1".
        plural: Several in words, as in "expected integers >= 1".
        read: Text to value; raises ValueError on anything else.
        holds: Whether a value is allowed.
        show: Value to the text that `read` reads back.
        switch: Whether it is given as --name or --noname, without a value.
    """

    expected: str
    plural: str
    read: Callable[[str], Any]
    holds: Callable[[Any], bool] = lambda value: True
    show: Callable[[Any], str] = str
    switch: bool = False


def text(expected="", holds=lambda value: True) -> Kind:
    """Any text, or one that a test holds for."""
    return Kind(expected, expected, str, holds)


def run_folder() -> Kind:
    """The folder of a trained net, or pretrained:<preset> for one that ships."""
    return Kind(
        "the folder of a run, or pretrained: and one of "
        f"{', '.join(shipped()) or 'none'}",
        "folders of runs",
        lambda given: str(run_directory(given)),
    )


def switch() -> Kind:
    """On or off: --name or --noname."""
    words = {"true": True, "false": False}
    return Kind(
        "true or false",
        "true or false",
        lambda given: _look_up(words, given.lower()),
        lambda value: isinstance(value, bool),
        lambda value: str(value).lower(),
        switch=True,
    )


def integer(low: int, high: int | None = None) -> Kind:
    """A whole number from `low` to `high`, both included; no limit above by default."""
    limit = f">= {low}" if high is None else f"in {low} .. {high}"
    return Kind(
        f"an integer {limit}",
        f"integers {limit}",
        int,
        lambda value: (
            isinstance(value, numbers.Integral)
            and low <= value <= (math.inf if high is None else high)
        ),
    )


# Intervals by name; none of them holds for infinity or NaN.
_INTERVALS = {
    "> 0": lambda value: 0 < value < math.inf,
    ">= 0": lambda value: 0 <= value < math.inf,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
    "": math.isfinite,
}


def number(interval: str = "") -> Kind:
    """A finite number, or one in "> 0", ">= 0", "in [0, 1)" or "in (0, 1]"."""
    holds = _INTERVALS[interval]
    return Kind(
        f"a number {interval}".rstrip(),
        f"numbers {interval}".rstrip(),
        float,
        lambda value: isinstance(value, numbers.Real) and holds(value),
        repr,
    )


def one_of(choices: Collection) -> Kind:
    """One of some names or numbers; a table may grow after its option is declared."""
    names = ", ".join(map(str, choices))
    return Kind(
        f"one of {names}",
        f"any of {names}",
        lambda given: _look_up({str(choice): choice for choice in choices}, given),
        lambda value: value in choices,
    )


def pair(first: Kind, second: Kind, like: str) -> Kind:
    """Two values around a colon; see `record`."""
    return record((first, second), like)


def record(kinds: tuple[Kind, ...], like: str) -> Kind:
    """A tuple of values with colons between.

    Args:
        kinds: Their kinds.
        like: Their names and an example, such as "scheme:steps, like rk4:2".
    """

    def read(given):
        parts = given.split(":", len(kinds) - 1)
        if len(parts) != len(kinds):
            raise ValueError("too few colons")
        return tuple(kind.read(p) for kind, p in zip(kinds, parts, strict=True))

    def holds(values):
        return len(values) == len(kinds) and all(
            kind.holds(value) for kind, value in zip(kinds, values, strict=True)
        )

    detail = f"{like} ({'; '.join(kind.expected for kind in kinds)})"
    return Kind(
        detail,
        detail,
        read,
        holds,
        lambda values: ":".join(
            kind.show(value) for kind, value in zip(kinds, values, strict=True)
        ),
    )


def list_of(item: Kind, unique=False) -> Kind:
    """A tuple of values, as text separated by commas.

    Args:
        item: The kind of each.
        unique: Whether each value may stand there once only. Default: no.
    """

    def read(given):
        return tuple(item.read(part.strip()) for part in given.split(",") if given)

    def holds(values):
        repeated = unique and len(set(values)) < len(values)
        return not repeated and all(map(item.holds, values))

    words = item.plural + ", each once" * unique
    return Kind(
        words,
        words,
        read,
        holds,
        lambda values: ",".join(map(item.show, values)),
    )


def _look_up(table, given):
    if given not in table:
        raise ValueError(f"not one of {', '.join(table)}")
    return table[given]
