"""Writes of a command: a disk that refuses ends it with a line, and nothing is left."""

import contextlib
import os
import pathlib

from cnet_tf import temporary
from trainers.errors import OptionError


@contextlib.contextmanager
def writing(option: str, *others, remedy="choose another or make room"):
    """Turns a failed write into a one-line error. Wrap nothing but the write.

    Args:
        option: That names the folder.
        *others: Exceptions that a library raises in place of OSError.
        remedy: What to do.

    Raises:
        OptionError: the file system refuses.
    """
    try:
        yield
    except (OSError, *others) as error:
        raise OptionError(
            f"--{option}: expected a folder that can be written. Received {error}: "
            f"{remedy}."
        ) from error


@contextlib.contextmanager
def workspace(parent, option: str):
    """Makes a temporary folder in `parent`, out of which a rename moves the result.

    On exit it is removed, and so are those of its parents that it made and that are
    empty. What killed processes have left in `parent`, and in folders
    directly below, is removed first.

    Args:
        parent: Made if it is missing.
        option: That names it.

    Raises:
        OptionError: the folder cannot be made.
    """
    parent = pathlib.Path(parent)
    lineage = [parent, *parent.parents]
    # Not `Path.exists`, which raises where a name is too long or a folder is closed.
    made = [folder for folder in lineage if not os.path.exists(folder)]
    with contextlib.ExitStack() as stack:
        # The deepest first; those that hold a result stay.
        for folder in reversed(made):
            stack.callback(_remove_empty, folder)
        with writing(option):
            parent.mkdir(parents=True, exist_ok=True)
            _sweep_below(parent)
            folder = stack.enter_context(temporary.folder(parent))
        yield folder


def _sweep_below(parent):
    """Exports of one net stand in folders of one: a killed one may be another's."""
    for folder in parent.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            temporary.sweep(folder)


def _remove_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()
