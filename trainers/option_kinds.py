"""Kinds of options: how text is read, which values are allowed, and their description.

    option(0.1, number("in (0, 1]"), "What schedule 'step' multiplies by")

A new kind of option is a `Kind`; nothing branches on types.
"""

import dataclasses
import numbers
from collections.abc import Callable, Collection
from fractions import Fraction
from typing import Any

from cnet_tf.bounds import MOST_STEPS
from cnet_tf.pretrained import run_directory, shipped
from cnet_tf.tableaus import SCHEMES


@dataclasses.dataclass(frozen=True)
class Kind:
    """The allowed values of an option.

    Attributes:
        expected: One value in words, as in "expected an integer >= 1".
        plural: Several values in words, as in "expected integers >= 1".
        read: Function of a text to its value; raises ValueError on anything else.
        holds: Function: whether a value is allowed.
        show: Function of a value to the text that `read` reads back.
        switch: Whether it is given as --name or --noname, without a value.
        most: Function of a value to the bound it violates, in words, if `expected`
            does not name that bound; empty otherwise.
    """

    expected: str
    plural: str
    read: Callable[[str], Any]
    holds: Callable[[Any], bool] = lambda value: True
    show: Callable[[Any], str] = str
    switch: bool = False
    most: Callable[[Any], str] = lambda value: ""


def text(expected="", holds=lambda value: True, empty=False) -> Kind:
    """Any text, or one that passes a test.

    Args:
        expected: Description of such a text.
        holds: The test.
        empty: Whether it may be empty, as when a shell variable is not set.
    """
    return Kind(
        expected,
        expected,
        str,
        lambda value: bool(empty or value.strip()) and holds(value),
        # The help need not say this for every text.
        most=lambda value: "" if expected or value.strip() else "a text, or no flag",
    )


def run_folder() -> Kind:
    """The folder of a trained net, or pretrained:<preset> for a shipped one."""
    return _trained("the folder of a run", "folders of runs")


def trained_model() -> Kind:
    """A .keras file, or a trained net as in `run_folder`."""
    return _trained(
        "a .keras file, the folder of a run", ".keras files, folders of runs"
    )


def _trained(one, several):
    shipping = f"or pretrained: and one of {', '.join(shipped()) or 'none'}"
    return Kind(
        f"{one}, {shipping}",
        f"{several}, {shipping}",
        lambda given: str(run_directory(_not_empty(given))),
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


# Larger counts overflow somewhere in TensorFlow, with a traceback.
_MOST = 2**31 - 1
# Beyond these bounds numbers are infinite or zero in float32.
_LARGEST, _SMALLEST = 3.4e38, 1.2e-38
# From here on numbers round to one in float32.
_BELOW_ONE = 1 - 2**-25


def integer(low: int, high: int | None = None, most: int = _MOST) -> Kind:
    """A whole number from `low` to `high`, both included.

    Args:
        low, high: Bounds that the help names. Default: no upper bound.
        most: An upper bound that is exceeded only by mistake. Default: 2^31 - 1.
    """
    limit = f">= {low}" if high is None else f"in {low} .. {high}"
    last = most if high is None else high
    return Kind(
        f"an integer {limit}",
        f"integers {limit}",
        int,
        lambda value: _is_whole(value) and low <= value <= last,
        most=lambda value: (
            f", at most {last}"
            if high is None and _is_whole(value) and value > last
            else ""
        ),
    )


def _is_whole(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


# Intervals by name, in float32; none of them contains infinity or NaN.
_INTERVALS = {
    "> 0": lambda value: _SMALLEST <= value <= _LARGEST,
    ">= 0": lambda value: 0 <= value <= _LARGEST,
    "in [0, 1)": lambda value: 0 <= value < _BELOW_ONE,
    "in (0, 1]": lambda value: 0 < value <= 1,
    "": lambda value: abs(value) <= _LARGEST,
}


def number(interval: str = "", most: float = _LARGEST) -> Kind:
    """A number in the range of float32.

    Args:
        interval: One of "> 0", ">= 0", "in [0, 1)" and "in (0, 1]". Default: any.
        most: A bound on the absolute value that is exceeded only by mistake.
    """
    holds = _INTERVALS[interval]

    def beyond(value):
        if not isinstance(value, numbers.Real):
            return ""
        if interval == "> 0" and 0 < value < _SMALLEST:
            return f", at least {_SMALLEST}"
        if interval == "in [0, 1)" and _BELOW_ONE <= value < 1:
            return ", at most 0.9999999"
        return f", at most {most:g}" if abs(value) > most else ""

    return Kind(
        f"a number {interval}".rstrip(),
        f"numbers {interval}".rstrip(),
        float,
        lambda value: (
            isinstance(value, numbers.Real)
            and not isinstance(value, bool)
            and holds(value)
            and abs(value) <= most
        ),
        repr,
        most=beyond,
    )


def ratio() -> Kind:
    """An exact number above zero, such as 4 or 1/2."""
    return Kind(
        "a number > 0, like 4 or 1/2",
        "numbers > 0, like 4 or 1/2",
        _fraction,
        lambda value: isinstance(value, numbers.Rational) and value > 0,
    )


def _fraction(given):
    try:
        return Fraction(given)
    except ZeroDivisionError:
        raise ValueError("divided by zero") from None


def one_of(choices: Collection) -> Kind:
    """One of several names or numbers; the choices may grow after the declaration."""
    names = ", ".join(map(str, choices))
    return Kind(
        f"one of {names}",
        f"any of {names}",
        lambda given: _look_up({str(choice): choice for choice in choices}, given),
        lambda value: value in choices,
    )


def pair(first: Kind, second: Kind, like: str) -> Kind:
    """Two values separated by a colon; see `record`."""
    return record((first, second), like)


def manifestation() -> Kind:
    """A scheme and its number of steps."""
    steps = integer(1, most=MOST_STEPS)
    return pair(one_of(SCHEMES), steps, "scheme:N, like euler:1")


def record(kinds: tuple[Kind, ...], like: str) -> Kind:
    """A tuple of values separated by colons.

    Args:
        kinds: Their kinds, in order.
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
        most=lambda values: next(
            filter(
                None, (kind.most(v) for kind, v in zip(kinds, values, strict=False))
            ),
            "",
        ),
    )


def list_of(item: Kind, unique=False, empty=True) -> Kind:
    """A tuple of values; their text is separated by commas.

    Args:
        item: The kind of each value.
        unique: Whether values must differ. Default: no.
        empty: Whether the tuple may be empty. Default: yes.
    """

    def read(given):
        return tuple(item.read(part.strip()) for part in given.split(",") if given)

    def holds(values):
        repeated = unique and len(set(values)) < len(values)
        return not repeated and (empty or values) and all(map(item.holds, values))

    words = item.plural + ", each once" * unique + ", at least one" * (not empty)
    return Kind(
        words,
        words,
        read,
        holds,
        lambda values: ",".join(map(item.show, values)),
        most=lambda values: next(filter(None, map(item.most, values)), ""),
    )


def of_blocks(given: tuple):
    """Returns one number for all blocks, a tuple with one per block, or None."""
    return given[0] if len(given) == 1 else given or None


def _not_empty(given: str) -> str:
    if not given.strip():
        raise ValueError("empty")
    return given


def _look_up(table, given):
    if given not in table:
        raise ValueError(f"not one of {', '.join(table)}")
    return table[given]
