"""Files that appear whole or not at all: written beside their target, then renamed."""

import contextlib
import json
import os
import pathlib


def write_json(path, value):
    """Writes JSON with sorted keys; see `write_bytes`."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def write_bytes(path, content: bytes):
    """Replaces a file: a reader sees the old content or the new one.

    Args:
        path: The target; its folder exists.
        content: All of it.

    Raises:
        OSError: nothing has changed and nothing is left behind.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"tmp-{os.getpid()}-{path.name}")
    with removed_on_failure(temporary):
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextlib.contextmanager
def removed_on_failure(path):
    """Removes a temporary file when writing it fails: a full disk needs its room."""
    try:
        yield
    except OSError:
        pathlib.Path(path).unlink(missing_ok=True)
        raise
