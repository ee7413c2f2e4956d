"""Flag files: one flag per line, in whichever Unicode encoding an editor saved them.

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

# The longest first: the mark of UTF-32 begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MOST_BYTES = 2**20  # Flag files have a few hundred; a larger file is not one.
_INCLUDE = re.compile(r"--?flagfile(?:=(.*))?", re.DOTALL)
_QUOTED = re.compile(r'(--?\w+=)("(?:[^"\\]|\\.)*")\s*(?:#.*)?')
_COMMENT = re.compile(r"(?:^|\s)#.*")


class FlagFileError(LineError):
    """A flag file cannot be read; the message is one line."""


def expanded(arguments: list[str]) -> list[str]:
    """Returns the arguments with every --flagfile replaced by the flags in it.

    Args:
        arguments: The arguments of a command, without its name.

    Raises:
        FlagFileError: a file is missing or unreadable, holds something other than
            flags, or includes itself.
    """
    found, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":  # Nothing after it is a flag.
            return [*found, argument, *rest]
        if not (include := _INCLUDE.fullmatch(argument)):
            found.append(argument)
            continue
        path = include[1] if include[1] is not None else rest.pop(0) if rest else ""
        found += _flags(path.strip(), ())
    return found


def quoted(value: str) -> str:
    """Writes a value for a flag file, such that `expanded` gives it back."""
    one_line = len(value.splitlines()) <= 1 and value == value.strip()
    plain = one_line and not re.search(r'^"|(?:^|\s)#', value)
    return value if plain else json.dumps(value)


def _flags(path, including) -> list[str]:
    """Returns the flags of a file and of those that it includes.

    Args:
        path: As given; relative to the working directory.
        including: The files that include it, outermost first.
    """
    path = os.path.expanduser(path)
    if not path:
        raise FlagFileError("--flagfile: expected a file. Received none.")
    if path in including:
        chain = " -> ".join([*including, path])
        raise FlagFileError(
            f"--flagfile: expected no cycle. Received {chain}: leave one of them out."
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
    """Returns the flag on a line, without its comment; empty if there is none."""
    line = line.strip()
    if line.startswith("//"):  # A comment in absl's style.
        return ""
    if quote := _QUOTED.fullmatch(line):
        try:
            return quote[1] + json.loads(quote[2])
        except ValueError:
            pass  # Not a JSON string, so a value that has quotes in it.
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
            f"{path!r}, which is not one: save it as UTF-8."
        ) from error
    return text
