"""Where images come from; a new source is a file of its own and an entry here."""

import difflib

from trainers.data import digits, folder, tfds_sets
from trainers.data.errors import refuse
from trainers.data.stored import Stored, UnknownSetError

# The first that claims a name opens it. TFDS claims all.
SOURCES = (digits.SOURCE, folder.SOURCE, tfds_sets.SOURCE)


def open_set(name: str, data_dir: str | None) -> Stored:
    """Opens a set; prepares it if need be.

    Raises:
        DataError: It is unknown, cannot be prepared or is no image classification set.
    """
    source = next(source for source in SOURCES if source.claims(name))
    try:
        return source.open(name, data_dir)
    except UnknownSetError:
        known = [known for source in SOURCES for known in source.names()]
        close = difflib.get_close_matches(name, known, n=3)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else "see tfds.list_builders()"
        )
        refuse("dataset", "digits, a TFDS name or folder:/path", repr(name), hint)
