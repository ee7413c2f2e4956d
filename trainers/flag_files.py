"""Flag files: a flag a line, read in whatever encoding an editor saved them.

# The published recipe.
--flagfile=cifar.flags
--epochs=120  # comments may follow a value, after a space
--runs_dir="/data/a #1"  # values in double quotes are JSON strings
"""

import codecs
import json
import os
import re

from cnet_tf.line_error import LineError

# The longest first: UTF-32 begins like UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MOST_BYTES = 2**20  # A flag file has some hundred; what is larger is none.
_INCLUDE = re.compile(r"--?flagfile(?:=(.*))?", re.DOTALL)
_QUOTED = re.compile(r'(--?\w+=)("(?:[^"\\]|\\.)*")\s*(?:#.*)?')
_COMMENT = re.compile(r"(?:^|\s)#.*")


class FlagFileError(LineError):
    """A flag file cannot be read; the message is one line."""


def expanded(arguments: list[str]) -> list[str]:
    """Arguments with every --flagfile replaced by the flags in it.

    Args:
        arguments: Those of a command, without its name.

    Raises:
        FlagFileError: a file is missing or unreadable, holds something else than flags,
            or includes itself.
    """
    found, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":  # Nothing behind it is a flag.
            return [*found, argument, *rest]
        if not (include := _INCLUDE.fullmatch(argument)):
            found.append(argument)
            continue
        path = include[1] if include[1] is not None else rest.pop(0) if rest else ""
        found += _flags(path.strip(), ())
    return found


def quoted(value: str) -> str:
    """A value as it stands in a flag file, so that `expanded` gives it back."""
    one_line = len(value.splitlines()) <= 1 and value == value.strip()
    plain = one_line and not re.search(r'^"|(?:^|\s)#', value)
    return value if plain else json.dumps(value)


def _flags(path, including) -> list[str]:
    """The flags of a file and of those that it includes.

    Args:
        path: As given; relative to the working directory.
        including: The files that include it, from the outermost on.
    """
    path = os.path.expanduser(path)
    if not path:
        raise FlagFileError("--flagfile: expected a file. Received none.")
    if path in including:
        chain = " -> ".join([*including, path])
        raise FlagFileError(
            f"--flagfile: expected no circle. Received {chain}: leave one of them out."
        )
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not (flag := _flag(line)):
            continue
        if include := _INCLUDE.fullmatch(flag):
            found += _flags((include[1] or "").strip(), (*including, path))
        elif flag.startswith("-") and flag != "--":
            found.append(flag)
        else:
            raise FlagFileError(
                f"--flagfile: {path}, line {number}: expected a flag, --name=value. "
                f"Received {flag[:80]!r}."
            )
    return found


def _flag(line) -> str:
    """The flag of a line without its comment; empty where there is none."""
    line = line.strip()
    if line.startswith("//"):  # As absl has them.
        return ""
    if quote := _QUOTED.fullmatch(line):
        try:
            return quote[1] + json.loads(quote[2])
        except ValueError:
            pass  # It is no string of JSON, so it is a value with quotes in it.
    return _COMMENT.sub("", line, count=1).rstrip()


def _text(path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path.
        reason = getattr(error, "strerror", None) or error
        raise FlagFileError(
            f"--flagfile: expected a file of flags. Received {path!r}: {reason}."
        ) from error
    marks = (name for mark, name in _MARKS.items() if content.startswith(mark))
    try:
        text = content.decode(next(marks, "utf-8"))
        if len(content) > _MOST_BYTES or "\0" in text:
            raise ValueError("no flags")
    except ValueError as error:
        raise FlagFileError(
            f"--flagfile: expected a text file of flags in UTF-8 or UTF-16. Received "
            f"{path!r}, which is none: save it as UTF-8."
        ) from error
    return text
