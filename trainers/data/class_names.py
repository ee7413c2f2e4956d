"""Names of classes as folders give them, and names as one line can show them."""

import unicodedata

from cnet_tf import escaping

MOST_LETTERS = 255  # File systems allow no longer names.


def composed(name: str) -> str:
    """Returns one spelling of a name, as Macs and others store accents differently."""
    return unicodedata.normalize("NFC", name)


def appearance(name: str) -> str:
    """Returns what a reader sees of a name: no ligatures, one kind of space."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def is_plain(name: str) -> bool:
    """Whether a name consists of visible characters and spaces, not spaces alone."""
    return bool(name.strip()) and escaping.is_plain(name)


def is_name(name) -> bool:
    """Whether it may name a class: plain, and no longer than a folder's name can be."""
    return isinstance(name, str) and len(name) <= MOST_LETTERS and is_plain(name)


def shown(name: str) -> str:
    """Escapes a file name for a one-line message, whatever is in it."""
    return escaping.visible(name)
