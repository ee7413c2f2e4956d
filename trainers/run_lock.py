"""Locks a folder, so that one process at a time trains in it.

The lock is a system lock on the file `lock`, released however its process ends. On
drives without locks the process touches the file `lock.lease` while it lives; another
process that sees it untouched for long enough takes it over.
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import socket
import stat
import time
from typing import Any

import filelock

from cnet_tf import plain_file

NAME = "lock"
_LEASE_SECONDS = 60.0
# Errors from drives and systems without locks.
_NO_LOCKS = (
    errno.ENOSYS,
    errno.EINVAL,
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
)
_MOST_BYTES = 1000  # Of an owner's description of itself.


@dataclasses.dataclass
class RunLock:
    """A held lock; as a context manager it is released at the end."""

    descriptor: int
    lease: Any = None

    def close(self):
        """Releases the lock."""
        if self.lease:
            with contextlib.suppress(OSError):
                self.lease.release()
        os.close(self.descriptor)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def acquire(folder, seconds: float = 0.0) -> RunLock | None:
    """Locks a folder, or returns None if a living process holds the lock.

    Args:
        folder: An existing folder.
        seconds: How long to wait for that process. Default: not at all, except for a
            lease, which must be watched before it is taken over.

    Raises:
        OSError: the lock cannot be made.
    """
    path = pathlib.Path(folder, NAME)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | plain_file.STRICT, 0o666)
    held = False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        lease = None
        try:
            held = _locked(descriptor, seconds)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lease = _leased(path, seconds)
            held = lease is not None
        if not held:
            return None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_self()).encode())
        return RunLock(descriptor, lease)
    finally:
        if not held:
            os.close(descriptor)


@contextlib.contextmanager
def of_folder(folder, seconds: float):
    """Locks the folder itself for a moment, which leaves nothing behind.

    Where folders cannot be locked, a file in it is locked instead, and stays there. If
    another process holds the lock for longer than `seconds`, proceeds without it.
    """
    with contextlib.ExitStack() as held:
        try:
            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            _locked(descriptor, seconds)
        except OSError:  # On Windows, and on drives that cannot lock folders.
            if lock := acquire(folder, seconds):
                held.enter_context(lock)
        yield


def owner(folder) -> str:
    """Names the last process that locked a folder, as in "process 12 on host"."""
    try:
        path = pathlib.Path(folder, NAME)
        found = plain_file.parse_json(plain_file.read_bytes(path, _MOST_BYTES), path)
        return f"process {int(found['pid'])} on {str(found['host'])!r}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "another process"


def _self() -> dict:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _locked(descriptor, seconds) -> bool:
    end = time.monotonic() + seconds
    while not filelock.lock_descriptor(descriptor, blocking=False):
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True


def _leased(path, seconds):
    """Returns a lease that is renewed in the background, or None."""
    lease = filelock.SoftFileLease(
        f"{path}.lease", lease_duration=_LEASE_SECONDS, thread_local=False
    )
    try:
        # The lease of a dead process is taken over at once if it ran on this machine,
        # otherwise once it has been untouched for its duration.
        lease.acquire(timeout=max(seconds, 1.2 * _LEASE_SECONDS), poll_interval=0.05)
    except filelock.Timeout:
        return None
    return lease
