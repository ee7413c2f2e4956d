"""Data that cannot be had as asked for, and what is worth a line otherwise."""

import sys
from typing import NoReturn

from cnet_tf.escaping import line
from cnet_tf.line_error import LineError


class DataError(LineError):
    """Data that cannot be had as asked for. The message is one line."""


class MissingData(DataError):
    """The data are not there at all, at least not where they were looked for."""


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
