"""Temporary files and folders that are renamed into place.

They are made beside their target and named `.tmp-..`. Each is locked while its process
lives; the system releases the lock however the process ends. So the process that makes
the next one in that folder can tell which are left over, and removes them.
"""

import contextlib
import errno
import os
import pathlib
import re
import secrets
import shutil
import stat
import time

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

PREFIX = ".tmp-"
# Matches our own names only, in any folder: current ones, and those of exports before
# 2026-11-25.
_NAME = re.compile(r"\.tmp-([0-9a-f]{16}|[a-z0-9_]{8})")
# Without locks, anything older than a day is left over. Links cannot be locked, but are
# renamed into place at once: those older than a minute are left over.
_DAY, _MINUTE = 24 * 3600, 60
# Errors of drives that cannot flush.
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def file(path):
    """Makes a new file beside `path`, which replaces it at the end.

    Readers see either the old content or the new. If the work fails, nothing changes
    and nothing is left behind.

    Args:
        path: The target; its folder must exist.

    Yields:
        The file, open for writing bytes; its `name` is its path.

    Raises:
        OSError: the file cannot be written.
    """
    path = pathlib.Path(path)
    sweep(path.parent)
    with _made(path.parent, _new_file) as temporary:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            to_disk(file.fileno())
        os.replace(temporary, path)


@contextlib.contextmanager
def folder(parent):
    """Makes a new folder in `parent`; a rename moves it, or what it holds, into place.

    Args:
        parent: An existing folder.

    Yields:
        The path of the new folder; whatever is still there at the end is removed.

    Raises:
        OSError: the folder cannot be made.
    """
    sweep(parent)
    with _made(pathlib.Path(parent), _new_folder) as temporary:
        yield temporary


def sweep(parent) -> None:
    """Removes what dead processes left in a folder, without following links."""
    parent = pathlib.Path(parent)
    with contextlib.suppress(OSError):
        for name in filter(_NAME.fullmatch, os.listdir(parent)):
            with contextlib.suppress(OSError):
                _remove_if_left(parent / name)


@contextlib.contextmanager
def _made(parent, new):
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(8)}"
        try:
            descriptor = new(path)
        except FileNotFoundError:
            if parent.is_dir():
                continue  # Swept before it was opened.
            raise
        try:
            _lock(descriptor, wait=True)
            # Unless a sweep came between opening and locking.
            if _is_there(path, descriptor):
                break
        except BaseException:
            _close(descriptor)
            _remove(path)
            raise
        _close(descriptor)
    try:
        yield path
    finally:
        try:
            if _is_there(path, descriptor):
                _remove(path)
        finally:
            _close(descriptor)


def _new_file(path):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666)
    if fcntl:
        return descriptor
    os.close(descriptor)  # Windows cannot rename open files.
    return None


def _new_folder(path):
    os.mkdir(path)
    return os.open(path, os.O_RDONLY | _NO_FOLLOW) if fcntl else None


def _lock(descriptor, wait=False) -> bool | None:
    """Whether the lock is ours now; None if the file system has no locks."""
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None


def _is_there(path, descriptor) -> bool:
    if descriptor is None:
        return path.exists()
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _remove_if_left(path):
    found = os.lstat(path)
    age = time.time() - found.st_mtime
    if stat.S_ISLNK(found.st_mode):
        if age > _MINUTE:
            os.unlink(path)
        return
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return  # Not ours, and opening a pipe would wait.
    descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW) if fcntl else None
    try:
        locked = _lock(descriptor)
        left = age > _DAY if locked is None else locked
        # Its owner may have moved it into place meanwhile.
        if left and _is_there(path, descriptor):
            _remove(path)
    finally:
        _close(descriptor)


def _remove(path):
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _close(descriptor):
    if descriptor is not None:
        os.close(descriptor)


def to_disk(descriptor):
    """Flushes to disk, if the file system can (some drives answer EINVAL)."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def folder_to_disk(path):
    """Makes a rename in a folder survive a loss of power, if the system can."""
    if os.name == "nt":  # Windows cannot open folders.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        to_disk(descriptor)
    finally:
        os.close(descriptor)
