"""Checks of arguments that several modules share."""

import operator


def positive_integer(name: str, value) -> int:
    """The value as an int.

    Raises:
        ValueError: it is no integer, or below 1; names the argument.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name}: expected an integer >= 1. Received {value!r}.")
    return number
