"""Checks of arguments that several modules share."""

import numbers
import operator

import numpy as np
from keras import ops

from cnet_tf.bounds import MOST_FACTOR


def positive_integer(name: str, value, most: int | None = None) -> int:
    """Returns the value as an int.

    Args:
        name: Name of the argument.
        value: Any value.
        most: The largest allowed value. Default: no limit.

    Raises:
        ValueError: it is not an integer, below 1 or above `most`; names the argument.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{name}: expected an integer >= 1. Received {value!r}.")
    if most is not None and number > most:
        raise ValueError(f"{name}: expected at most {most:,}. Received {number:,}.")
    return number


def finite_number(name: str, value):
    """Returns the value, a finite number, as an int, float or Fraction.

    Args:
        name: Name of the argument.
        value: Any value. NumPy scalars become Python numbers.

    Raises:
        ValueError: it is not a finite number, or too large; names the argument.
    """
    if isinstance(value, np.number):
        value = value.item()
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not abs(value) <= MOST_FACTOR:
        raise ValueError(
            f"{name}: expected a number of at most {MOST_FACTOR:,.0f}. "
            f"Received {value!r}."
        )
    return value


def per_block(name, value, count):
    """Returns one value for every block: a single number, or None, is repeated.

    Raises:
        ValueError: the length of a sequence is not the number of blocks.
    """
    if value is None or isinstance(value, numbers.Real):
        return (value,) * count
    if len(value) != count:
        raise ValueError(
            f"{name}: expected a number or {count} of them, one per block. "
            f"Received {value!r}."
        )
    return tuple(value)


def finite_values(variable) -> np.ndarray:
    """Returns the value of a variable.

    Raises:
        ValueError: it is not finite; names the path.
    """
    value = ops.convert_to_numpy(variable)
    if not np.all(np.isfinite(value)):
        raise ValueError(
            f"{variable.path}: expected finite values. Received nan or inf."
        )
    return value
