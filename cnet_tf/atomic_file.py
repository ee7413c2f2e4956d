"""Files that appear whole or not at all: written beside their target, then renamed."""

import json

from cnet_tf import temporary


def write_json(path, value):
    """Writes JSON with sorted keys; see `write_bytes`."""
    write_bytes(path, json_bytes(value))


def json_bytes(value) -> bytes:
    """Returns JSON with sorted keys, as `write_json` writes it."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_bytes(path, content: bytes):
    """Replaces a file: a reader sees the old content or the new one.

    Args:
        path: The target, in an existing folder.
        content: The whole content.

    Raises:
        OSError: writing failed; nothing has changed and nothing is left behind.
    """
    with temporary.file(path) as file:
        file.write(content)
