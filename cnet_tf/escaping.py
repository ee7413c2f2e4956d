"""Text of strangers in what we write: one function a format.

Names of classes, nets, runs and data sets, paths and messages come from files that
anybody may have written. Nothing in them may end a line, open a tag, move a terminal's
cursor or be taken for a formula.
"""

import re
import shlex
import unicodedata

# Cc: control characters, ANSI's escape among them. Cf: marks that reverse or hide the
# text behind them. Cs: halves of characters, which no file can hold. Zl, Zp: lines.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# What joins letters and emoji belongs to names.
_JOINERS = "\u200c\u200d"
_MOST = 1000
# Spreadsheets take cells that begin so for formulas.
_FORMULA = tuple("=+-@\t\r")


def is_plain(text: str) -> bool:
    """Whether a text has nothing unseen in it, so that it is one line."""
    return not any(map(_unseen, text))


def visible(text) -> str:
    r"""The text with all that is unseen written out: `\n`, `\x1b`, `\u202e`."""
    return "".join(
        c.encode("unicode_escape").decode() if _unseen(c) else c for c in str(text)
    )


def line(text, most: int = _MOST) -> str:
    """A line for a terminal or a message: blanks are single, nothing is unseen.

    Args:
        text: Any text.
        most: Characters, of which the middle is left out. Default 1000.
    """
    found = visible(" ".join(str(text).split()))
    half = most // 2
    return found if len(found) <= most else f"{found[:half]} .. {found[-half:]}"


def markdown(text) -> str:
    """A text within a line or cell of Markdown, which shows it as it is."""
    found = line(text)
    for character, name in (("&", "amp"), ("<", "lt"), (">", "gt")):
        found = found.replace(character, f"&{name};")
    found = re.sub(r"([\\`*\[\]|~$])", r"\\\1", found)
    # Within words, as in `euler_2`, an underscore is a letter.
    found = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", found)
    # Neither addresses nor names of people become links.
    return re.sub(r"://|(?<![^\s(])(www\.|@)", _unlinked, found)


def code(text) -> str:
    """A text as code within a line of Markdown."""
    found = line(text) or " "
    fence = "`" * (_longest_run(found) + 1)
    space = " " if found.startswith("`") or found.endswith("`") else ""
    return f"{fence}{space}{found}{space}{fence}"


def code_block(text, language: str = "") -> str:
    """Lines of code in Markdown; no line of the text ends them."""
    text = str(text).strip().replace("\r\n", "\n")
    lines = [visible(part) for part in text.split("\n")]
    fence = "`" * max(3, _longest_run(text) + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def cell(value):
    """A cell of a CSV file: a text that looks like a formula starts with a quote.

    Numbers stay as they are; the `csv` module quotes separators.
    """
    if not isinstance(value, str):
        return value
    found = line(value)
    return f"'{found}" if value.startswith(_FORMULA) else found


def lines(names) -> str:
    """A file with a name a line, one line for every name."""
    return "".join(f"{visible(name)}\n" for name in names)


def file_name(text, most: int = 100) -> str:
    """A text as a part of the name of a file, in any folder on any system."""
    found = re.sub(r"[^A-Za-z0-9._-]+", "-", str(text)).lstrip(".-")
    return found[:most] or "net"


def plot(text) -> str:
    """A text in a picture of Matplotlib, to which `$` begins a formula."""
    found = line(text, 100).replace("$", r"\$")
    # It leaves labels that begin with an underscore out of legends.
    return f" {found}" if found.startswith("_") else found


def shell(text) -> str:
    """A word of a command line that can be shown and pasted."""
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
    # Python shows bytes of a path that are no UTF-8 as halves of characters.
    escaped = "\udc80" <= character <= "\udcff"
    return character.encode(errors="surrogateescape" if escaped else "replace")


def _longest_run(text) -> int:
    return max(map(len, re.findall("`+", str(text))), default=0)


def _unlinked(match) -> str:
    text = match.group()
    return {"://": ":&#47;&#47;", "@": "&#64;"}.get(text, "www&#46;")
