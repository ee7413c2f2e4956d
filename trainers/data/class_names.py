"""Names of classes as folders tell them, and names as one line can show them."""

import unicodedata

# Of Persian and Indic words and of emoji, which have letters on both sides.
_JOINERS = "\u200c\u200d"
# Control characters, half characters, ends of lines, marks that hide or turn text.
_REFUSED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def composed(name: str) -> str:
    """One spelling of a name: accents as disks of Macs and of others write them."""
    return unicodedata.normalize("NFC", name)


def is_plain(name: str) -> bool:
    """Whether a name is nothing but characters that are seen, and spaces."""
    return bool(name.strip()) and not any(
        unicodedata.category(c) in _REFUSED and c not in _JOINERS for c in name
    )


def shown(name: str) -> str:
    """A name of a file for a message of one line, whatever is in it."""
    return "".join(c if is_plain(c) or c == " " else repr(c)[1:-1] for c in name)
