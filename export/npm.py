"""Downloads npm packages with npm, which knows the user's registry and proxy."""

import pathlib
import shutil
import subprocess

from cnet_tf.line_error import LineError


class NpmError(LineError):
    """npm delivers no archive. The message is one line that says what was received."""


def executable() -> str:
    """Returns the path of npm.

    Raises:
        NpmError: npm is not installed.
    """
    npm = shutil.which("npm")
    if not npm:
        raise NpmError("no npm to download it with")
    return npm


def pack(package: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads an archive, a .tgz with everything inside `package/`.

    Args:
        package: `<name>@<version>`.
        folder: An empty folder.

    Returns:
        The path of the archive, in `folder`.

    Raises:
        NpmError: npm is not installed, or it fails.
    """
    command = [executable(), "pack", package, "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NpmError(str(error)) from error
    found = list(pathlib.Path(folder).glob("*.tgz"))
    if done.returncode or len(found) != 1:
        lines = done.stderr.strip().splitlines() or ["no file"]
        raise NpmError(repr(lines[0][:200]))
    return found[0]
