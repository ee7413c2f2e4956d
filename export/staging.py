"""Publishes exports: they appear complete or not at all."""

import contextlib
import errno
import os
import pathlib
import tempfile

from trainers import disk
from trainers.errors import OptionError


def writing(*others):
    """Turns a failed write into a one-line error. Wrap nothing but the write.

    Args:
        *others: Exceptions that a library raises instead of OSError.

    Raises:
        OptionError: the file system refuses.
    """
    return disk.writing("output", *others)


@contextlib.contextmanager
def temporary_files(folder):
    """Makes libraries put their temporary files into the folder of a `Workspace`.

    Converters leave them behind when killed, and some always do. Also, the system's
    temporary folder may be full while this one is not.
    """
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


class Workspace(disk.Workspace):
    """A folder of exports, which appear in it complete or not at all.

    with Workspace(output) as workspace:
        file = build(workspace.folder)
        workspace.publish_file(file, "net.tflite", card)
    """

    def publish_file(self, file, name: str, card: str) -> pathlib.Path:
        """Renames a file into place, with its model card beside it as `<name>.md`.

        Args:
            file: A file in `self.folder`.
            name: Its new name; an existing file of that name is replaced.
            card: Text of the model card.

        Raises:
            OptionError: the file system refuses; what was there is kept.
        """
        target = self.parent / name
        text = pathlib.Path(file).with_name("card.md")
        with writing():
            if target.is_dir():
                code = errno.EISDIR
                raise IsADirectoryError(code, os.strerror(code), str(target))
            text.write_text(card, encoding="utf-8")
            # The card first: once the model is replaced, nothing can fail.
            os.replace(text, target.with_name(f"{name}.md"))
            os.replace(file, target)
        return target

    def publish_folder(self, folder, name: str, marks: tuple[str, ...]) -> pathlib.Path:
        """Renames a folder into place and removes our earlier one.

        Args:
            folder: A folder in `self.folder`.
            name: Its new name.
            marks: See `refuse_foreign`, which is called again: exports take minutes.

        Raises:
            OptionError: the file system refuses; what was there is kept.
        """
        target = self.parent / name
        refuse_foreign(target, marks)
        old = pathlib.Path(folder).with_name("replaced")
        with writing():
            there = os.path.lexists(target)
            if there:
                os.rename(target, old)  # Removed with the temporary folder.
            try:
                os.rename(folder, target)
            except BaseException:  # Signals too.
                if there:
                    os.rename(old, target)
                raise
        return target

    def publish_version(
        self, folder, model: str, version: int | None = None
    ) -> pathlib.Path:
        """Renames a folder to `<model>/<version>`, never replacing an existing one.

        Args:
            folder: A folder on the same file system.
            model: Folder of the model, created if missing.
            version: Default: one above the existing versions.

        Raises:
            OptionError: the version already exists, or the file system refuses.
        """
        parent = self.parent / model
        with writing():
            parent.mkdir(exist_ok=True)
            while True:
                target = parent / str(version or latest_version(parent) + 1)
                try:
                    os.rename(folder, target)
                    return target
                except OSError as error:
                    # Another process took that version first: a rename never replaces
                    # a folder that is not empty.
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    refuse_version(parent, version)


def refuse_foreign(target: pathlib.Path, marks: tuple[str, ...]) -> None:
    """Raises OptionError if `publish_folder` would replace something not ours.

    Args:
        target: A folder, which may be missing or empty.
        marks: Names of files that all our folders contain.
    """
    with writing():
        if os.path.isdir(target) and not os.listdir(target):
            return
    found = (os.path.isfile(target / mark) for mark in marks)
    if os.path.lexists(target) and not all(found):
        raise OptionError(
            f"--output: expected a folder in which {target.name} is missing or is an "
            f"earlier export. Received {target}, which has no {' and '.join(marks)}: "
            "move it away or choose another folder."
        )


# TF Serving reads versions as int64 and ignores folders with a larger number.
LAST_VERSION = 2**63 - 1


def refuse_version(parent, version: int | None) -> None:
    """Raises OptionError if the requested version exists, or none follows the last."""
    if not version and latest_version(parent) == LAST_VERSION:
        raise OptionError(
            f"--version: expected a number below {LAST_VERSION}, the latest version in "
            f"{parent}, which nothing can follow. Received none: give one."
        )
    if version and os.path.exists(pathlib.Path(parent, str(version))):
        raise OptionError(
            f"--version: expected one that is not yet in {parent}. Received {version}: "
            "versions are never overwritten, leave the flag out for the next one."
        )


def latest_version(parent) -> int:
    """Returns the largest version in a folder that TF Serving reads; 0 for none."""
    names = os.listdir(parent) if os.path.isdir(parent) else []
    found = [int(name) for name in names if name.isdecimal()]
    return max((number for number in found if number <= LAST_VERSION), default=0)


def size_on_disk(path) -> int:
    """Counts the bytes of a file, or of all files below a folder."""
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
