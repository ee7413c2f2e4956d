"""A command's writes: a failed one ends it with a line, and nothing is left behind."""

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
        option: Option that names the folder.
        *others: Exceptions that a library raises instead of OSError.
        remedy: What to do.

    Raises:
        OptionError: the write fails.
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
    """A folder of results, and a temporary one in it from which they are renamed.

    Entering first removes what killed processes left in `parent` and in folders
    directly below it. On exit the temporary folder is removed, and so are parents that
    were made for it and are empty.

    Attributes:
        parent: Where results appear; made on entering if it is missing.
        folder: The temporary folder, None before the workspace is entered.

    Raises:
        OptionError: on entering, if it cannot be made; names `--output`.
    """

    parent: pathlib.Path
    folder: pathlib.Path | None = dataclasses.field(default=None, init=False)

    def __enter__(self):
        lineage = [self.parent, *self.parent.parents]
        # Not `Path.exists`, which raises for long names and unreadable folders.
        made = [folder for folder in lineage if not os.path.exists(folder)]
        with contextlib.ExitStack() as stack:
            # Removed deepest first; those that hold a result stay.
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

    def publish(self, contents: dict[str, bytes]):
        """Writes files by name; they appear only once all are written.

        Raises:
            OptionError: a file cannot be written; names `--output`.
        """
        with writing("output"):
            for name, content in contents.items():
                write_bytes(self.folder / name, content)
            for name in contents:
                os.replace(self.folder / name, self.parent / name)


def _sweep_below(parent):
    """Sweeps subfolders too: exports of a net share `parent`, each with its own."""
    for folder in parent.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            temporary.sweep(folder)


def _remove_empty(folder):
    with contextlib.suppress(OSError):
        folder.rmdir()
