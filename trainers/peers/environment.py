"""Environments with other packages than ours, each in a folder, built when needed."""

import hashlib
import pathlib
import subprocess
import sys

from cnet_tf.line_error import LineError
from trainers.peers.table import PROGRAMS

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build" / "peers"


class NotInstalled(LineError):
    """An environment that cannot be built; the message is one line."""


def interpreter(requirements: str | None, build=None, tell=print) -> str:
    """Returns the interpreter of a peer.

    Args:
        requirements: See `Peer`.
        build: Folder of the environments. Default: `BUILD`.
        tell: Function that reports when one is built, which takes minutes.

    Raises:
        NotInstalled: pip cannot install the packages.
    """
    if requirements is None:
        return sys.executable
    file = PROGRAMS / f"requirements-{requirements}.txt"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return built((build or BUILD) / requirements, ["-r", str(file)], digest, tell)


def built(folder: pathlib.Path, packages, stamp: str, tell=print) -> str:
    """Returns the interpreter of a folder, built if missing or of another stamp.

    Args:
        folder: Folder of the environment.
        packages: Arguments of `pip install`.
        stamp: Text that names what is installed.
        tell: See `interpreter`.

    Raises:
        NotInstalled: there is no index that has the packages, or no room.
    """
    file, python = folder / "stamp", folder / "bin" / "python"
    if not file.is_file() or file.read_text() != stamp:
        tell(f"Building {folder}: this takes minutes, once.")
        _run(folder, sys.executable, "-m", "venv", "--clear", folder)
        pip = [python, "-m", "pip", "install", "--quiet", "--retries", "1"]
        _run(folder, *pip, *packages)
        file.write_text(stamp)
    return str(python)


def _run(folder, *command):
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or [""]
        raise NotInstalled(f"{folder.name} could not be installed: {lines[-1]}")
