"""Names of classes as folders tell them, and names as one line can show them."""

import unicodedata

from cnet_tf import escaping

MOST_LETTERS = 255  # File systems have no longer names.


def composed(name: str) -> str:
    """One spelling of a name: accents as disks of Macs and of others write them."""
    return unicodedata.normalize("NFC", name)


def appearance(name: str) -> str:
    """What a reader sees of a name: neither ligatures nor kinds of spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def is_plain(name: str) -> bool:
    """Whether a name is nothing but characters that are seen, and spaces."""
    return bool(name.strip()) and escaping.is_plain(name)


def is_name(name) -> bool:
    """Whether it may name a class: plain, and no longer than any folder's name."""
    return isinstance(name, str) and len(name) <= MOST_LETTERS and is_plain(name)


def shown(name: str) -> str:
    """A name of a file for a message of one line, whatever is in it."""
    return escaping.visible(name)
