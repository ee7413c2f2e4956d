"""Escapes untrusted text in our output: one function per format.

Names of classes, nets, runs and data sets, paths and messages come from files that
anybody may have written. Nothing in them may end a line, open a tag, move a terminal's
cursor or be taken for a formula.
"""

import re
import shlex
import unicodedata

# Cc: control characters, including ANSI's escape. Cf: marks that reverse or hide the
# text after them. Cs: halves of surrogate pairs, which no file can hold. Zl, Zp: line
# and paragraph separators.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Characters that join letters and emoji are legitimate in names.
_JOINERS = "\u200c\u200d"
_MOST = 1000
# Spreadsheets take cells that start with one of these for formulas.
_FORMULA = tuple("=+-@\t\r")


def is_plain(text: str) -> bool:
    """Returns whether a text has no invisible characters, so that it is one line."""
    return not any(map(_unseen, text))


def visible(text) -> str:
    r"""Returns the text with invisible characters as `\n`, `\x1b`, `\u202e`."""
    return "".join(
        c.encode("unicode_escape").decode() if _unseen(c) else c for c in str(text)
    )


def line(text, most: int = _MOST) -> str:
    """Returns a line for a terminal or message: single blanks, nothing invisible.

    Args:
        text: Any text.
        most: Characters to keep, " .. " in the middle for the rest. Default 1000.
    """
    found = visible(" ".join(str(text).split()))
    half = most // 2
    return found if len(found) <= most else f"{found[:half]} .. {found[-half:]}"


def markdown(text) -> str:
    """Escapes a text for a line or cell of Markdown, which then shows it literally."""
    found = line(text)
    for character, name in (("&", "amp"), ("<", "lt"), (">", "gt")):
        found = found.replace(character, f"&{name};")
    found = re.sub(r"([\\`*\[\]|~$])", r"\\\1", found)
    # Within words, as in `euler_2`, Markdown leaves an underscore alone.
    found = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", found)
    # Neither addresses nor mentions of people become links.
    return re.sub(r"://|(?<![^\s(])(www\.|@)", _unlinked, found)


def code(text) -> str:
    """Returns a text as code within a line of Markdown."""
    found = line(text) or " "
    fence = "`" * (_longest_run(found) + 1)
    space = " " if found.startswith("`") or found.endswith("`") else ""
    return f"{fence}{space}{found}{space}{fence}"


def code_block(text, language: str = "") -> str:
    """Returns a code block in Markdown, which no line of the text can end."""
    text = str(text).strip().replace("\r\n", "\n")
    lines = [visible(part) for part in text.split("\n")]
    fence = "`" * max(3, _longest_run(text) + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def cell(value):
    """Returns a CSV cell; a text that looks like a formula gets a leading quote.

    Numbers are unchanged; the `csv` module quotes separators.
    """
    if not isinstance(value, str):
        return value
    found = line(value)
    return f"'{found}" if value.startswith(_FORMULA) else found


def lines(names) -> str:
    """Returns the text of a file with exactly one line per name."""
    return "".join(f"{visible(name)}\n" for name in names)


def file_name(text, most: int = 100) -> str:
    """Turns a text into part of a file name for any folder on any system."""
    found = re.sub(r"[^A-Za-z0-9._-]+", "-", str(text)).lstrip(".-")
    return found[:most] or "net"


def plot(text) -> str:
    """Escapes a text for a Matplotlib figure, where `$` would begin a formula."""
    found = line(text, 100).replace("$", r"\$")
    # Matplotlib leaves labels that begin with an underscore out of legends.
    return f" {found}" if found.startswith("_") else found


def shell(text) -> str:
    """Quotes a command-line word so that it can be shown and pasted."""
    text = str(text)
    if is_plain(text):
        return shlex.quote(text)
    quoted = (
        "".join(rf"\x{byte:02x}" for byte in _bytes(c))
        if _unseen(c) or c in "\\'"
        else c
        for c in text
    )
    return f"$'{''.join(quoted)}'"


def _unseen(character) -> bool:
    category = unicodedata.category(character)
    return category in _UNSEEN and character not in _JOINERS


def _bytes(character) -> bytes:
    # Python represents path bytes that are not UTF-8 as halves of surrogate pairs.
    escaped = "\udc80" <= character <= "\udcff"
    return character.encode(errors="surrogateescape" if escaped else "replace")


def _longest_run(text) -> int:
    return max(map(len, re.findall("`+", str(text))), default=0)


def _unlinked(match) -> str:
    text = match.group()
    return {"://": ":&#47;&#47;", "@": "&#64;"}.get(text, "www&#46;")
