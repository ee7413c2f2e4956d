"""Data that cannot be had as asked for."""

from typing import NoReturn

from cnet_tf.line_error import LineError


class DataError(LineError):
    """Data that cannot be had as asked for. The message is one line."""


def refuse(argument: str, expected: str, received: str, remedy: str) -> NoReturn:
    """Raises a DataError of one line."""
    raise DataError(
        f"{argument}: expected {expected}. Received {received}: {remedy}."
    ) from None
