"""Errors of data that cannot be provided as asked for, and notes that stop nothing."""

import sys
from typing import NoReturn

from cnet_tf.escaping import line
from cnet_tf.line_error import LineError


class DataError(LineError):
    """Data cannot be provided as asked for. The message is one line."""


class MissingData(DataError):
    """The data are not there at all, at least not where they were sought."""


def refuse(
    argument: str,
    expected: str,
    received: str,
    remedy: str,
    error: type[DataError] = DataError,
) -> NoReturn:
    """Raises a DataError of one line."""
    message = f"{argument}: expected {expected}. Received {received}: {remedy}."
    raise error(message) from None


def tell(text: str) -> None:
    """Prints a line that a user should see but that stops nothing."""
    print(f"note: {line(text)}", file=sys.stderr, flush=True)
