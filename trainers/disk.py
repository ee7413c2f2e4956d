"""Writes of a command: a disk that refuses ends it with a line, and nothing is left."""

import contextlib
import dataclasses
import os
import pathlib

from cnet_tf import temporary
from cnet_tf.atomic_file import write_bytes
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


@dataclasses.dataclass
class Workspace:
    """A folder of results, with a temporary one in it, out of which they are renamed.

    On exit the temporary one is removed, and so are those of its parents that were made
    for it and that are empty. What killed processes have left in `parent`, and in
    folders directly below, is removed first.

    Attributes:
        parent: Where results appear; made on entering if it is missing.
        folder: The temporary one, None before it is entered.

    Raises:
        OptionError: on entering, if it cannot be made; `--output` names it.
    """

    parent: pathlib.Path
    folder: pathlib.Path | None = dataclasses.field(default=None, init=False)

    def __enter__(self):
        lineage = [self.parent, *self.parent.parents]
        # Not `Path.exists`, which raises where a name is too long or a folder closed.
        made = [folder for folder in lineage if not os.path.exists(folder)]
        with contextlib.ExitStack() as stack:
            # The deepest first; those that hold a result stay.
            for folder in reversed(made):
                stack.callback(_remove_empty, folder)
            with writing("output"):
                self.parent.mkdir(parents=True, exist_ok=True)
                _sweep_below(self.parent)
                self.folder = stack.enter_context(temporary.folder(self.parent))
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._opened.__exit__(*error)


def publish(workspace: Workspace, files: dict[str, bytes]) -> None:
    """Writes results to a workspace that is open, and renames them into place.

    Args:
        workspace: Entered.
        files: Contents by name.

    Raises:
        OptionError: it cannot be written; `--output` names it.
    """
    with writing("output"):
        for name, content in files.items():
            write_bytes(workspace.folder / name, content)
        for name in files:
            os.replace(workspace.folder / name, workspace.parent / name)


def _sweep_below(parent):
    """Exports of one net stand in folders of one: a killed one may be another's."""
    for folder in parent.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            temporary.sweep(folder)


def _remove_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()
