"""Reads untrusted files.

A file is opened without following a link or waiting for a pipe. It must be a regular
file, and its size is bounded before it is read. JSON is bounded in depth and in number
of values before it is parsed, because its objects take far more memory than its text.
"""

import contextlib
import hashlib
import json
import os
import re
import stat

import numpy as np

from cnet_tf.line_error import LineError

# Far above what this package writes: the largest description of a preset, that of
# wrn58-4, has 0.5 MB, 12,000 values and 15 levels.
MOST_BYTES = 16 * 1024**2
# An object with one value takes 200 bytes of memory, but only eight bytes of text.
MOST_VALUES = 300_000
MOST_DEPTH = 100

# Do not follow links or wait for pipes. Windows lacks these flags, but its folders have
# no pipes and, as a rule, no links.
STRICT = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
_BINARY = getattr(os, "O_BINARY", 0)


class PlainFileError(LineError):
    """A file is missing, not regular, too large, or has unexpected content.

    Attributes:
        missing: Whether the file does not exist.
    """

    def __init__(self, message, missing=False):
        super().__init__(message)
        self.missing = missing


@contextlib.contextmanager
def opened(path, *, follow=False):
    """Opens a regular file for reading bytes.

    Args:
        path: The file.
        follow: Whether it may be a link: a path given by a user may be one, a path
            found in a file may not.

    Raises:
        PlainFileError: there is no such regular file, or it cannot be read.
    """
    flags = os.O_RDONLY | _BINARY | STRICT
    if follow:
        flags &= ~getattr(os, "O_NOFOLLOW", 0)
    else:
        # For a clear message; the flag is what enforces it.
        check_no_link(path, "a regular file")
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path.
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = getattr(error, "strerror", None) or error
        raise PlainFileError(f"{path}: not readable: {reason}.", missing) from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise PlainFileError(
            f"{path}: not readable: expected a regular file. Received {_named(kind)}."
        )
    with open(descriptor, "rb") as file:
        yield file


def check_no_link(path, expected="a folder"):
    """Refuses a link, through which writes and removals would take effect elsewhere.

    Args:
        path: The path to check.
        expected: What it must be, for the message. Default: a folder.

    Raises:
        PlainFileError: the path is a link. A path that does not exist passes.
    """
    if os.path.islink(path):
        raise PlainFileError(
            f"{path}: expected {expected}. Received a link: copy what it points to "
            "here."
        )


def read_bytes(path, most: int = MOST_BYTES, *, follow=False) -> bytes:
    """Returns the content of a file.

    Args:
        path, follow: See `opened`.
        most: Maximum size in bytes. Default 16 MiB.

    Raises:
        PlainFileError: see `opened`; or the file is larger.
    """
    with opened(path, follow=follow) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise PlainFileError(f"{path}: not readable: {error.strerror}.") from None
    if len(content) > most:
        raise PlainFileError(
            f"{path}: not readable: expected at most {most:,} bytes. Received more."
        )
    return content


def read_text(path, most: int = MOST_BYTES, *, follow=False) -> str:
    """Returns the text of a UTF-8 file, with or without a BOM; see `read_bytes`."""
    try:
        return read_bytes(path, most, follow=follow).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlainFileError(
            f"{path}: not readable: expected text in UTF-8: {error}."
        ) from None


def read_json(path) -> dict:
    """Returns the dictionary in a JSON file.

    Args:
        path: See `opened`.

    Raises:
        PlainFileError: see `read_bytes` and `parse_json`; or the value is not a dict.
    """
    value = parse_json(read_bytes(path), path)
    if not isinstance(value, dict):
        raise PlainFileError(
            f"{path}: not readable: expected a dict. Received a {type(value).__name__}."
        )
    return value


def parse_json(content: bytes, name):
    """Parses a JSON text after bounding its depth and its number of values.

    Args:
        content: The text, in UTF-8.
        name: What it was read from, for messages.

    Raises:
        PlainFileError: the text is not JSON, is nested too deeply, or has too many
            values.
    """
    try:
        _bound(content)
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise PlainFileError(f"{name}: not readable: {error}.") from None


def _bound(content):
    # Also counts characters inside strings; our own texts are far below both bounds.
    values = sum(map(content.count, (b",", b"[", b"{")))
    if values > MOST_VALUES:
        raise ValueError(f"expected at most {MOST_VALUES:,} values, not {values:,}")
    # Possessive: otherwise the engine keeps a backtracking point for every character.
    outside = re.sub(rb'"(?:[^"\\]++|\\.)*+"?', b"", content, flags=re.DOTALL)
    text = np.frombuffer(outside, np.uint8)
    opening = np.isin(text, np.frombuffer(b"[{", np.uint8)).astype(np.int32)
    closing = np.isin(text, np.frombuffer(b"]}", np.uint8))
    if np.cumsum(opening - closing).max(initial=0) > MOST_DEPTH:
        raise ValueError(f"expected at most {MOST_DEPTH} levels. Received more")


def sha256(path, *, most: int | None = None, follow=False) -> str:
    """Returns the SHA-256 checksum of a file; see `opened`.

    Args:
        path, follow: See `opened`.
        most: Maximum size in bytes. Default: unlimited.
    """
    with opened(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise PlainFileError(
                f"{path}: not readable: expected at most {most:,} bytes. Received "
                f"{size:,}."
            )
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise PlainFileError(f"{path}: not readable: {error.strerror}.") from None


def _named(mode) -> str:
    names = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISLNK: "a link",
        stat.S_ISSOCK: "a socket",
    }
    return next((name for test, name in names.items() if test(mode)), "a device")
