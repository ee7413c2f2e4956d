"""Data that cannot be had as asked for."""

from typing import NoReturn


class DataError(ValueError):
    """Data that cannot be had as asked for. The message is one line."""


def refuse(argument: str, expected: str, received: str, remedy: str) -> NoReturn:
    """Raises a DataError of one line."""
    message = f"{argument}: expected {expected}. Received {received}: {remedy}."
    raise DataError(" ".join(message.split())) from None
