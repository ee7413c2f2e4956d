"""Where images come from; a new source is a file of its own and an entry here."""

import difflib
import os

from trainers.data import digits, folder, tfds_sets
from trainers.data.errors import MissingData, refuse
from trainers.data.stored import Stored, UnknownSetError, Wanted

# The first that claims a name opens it. TFDS claims all.
SOURCES = (digits.SOURCE, folder.SOURCE, tfds_sets.SOURCE)


def open_set(wanted: Wanted) -> Stored:
    """Opens a set; prepares it if necessary and wanted.

    Raises:
        DataError: It is unknown, cannot be prepared or is not for image classification.
    """
    name = wanted.name
    source = next(source for source in SOURCES if source.claims(name))
    path = os.path.expanduser(name)
    try:
        if os.path.isabs(path) or name.startswith("."):  # TFDS has no such names.
            raise UnknownSetError(name)
        return source.open(wanted)
    except UnknownSetError:
        known = [known for source in SOURCES for known in source.names()]
        close = difflib.get_close_matches(name, known, n=3)
        hint = "see tfds.list_builders()"
        if os.path.isdir(path):
            hint = f"use {folder.PREFIX}{name} for the folder"
        elif close:
            hint = f"did you mean {' or '.join(close)}?"
        refuse(
            "dataset",
            "digits, a TFDS name or folder:/path",
            repr(name),
            hint,
            MissingData,
        )
