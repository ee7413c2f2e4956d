"""Environments in which tests find runtimes that ours does not have."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

from export import npm
from trainers.peers.environment import built


def environment(folder: pathlib.Path, requirements: tuple[str, ...]) -> str:
    """The interpreter of a folder; built where it is missing or has others.

    Args:
        folder: Of the environment.
        requirements: As pip takes them. None: this interpreter, and no folder.
    """
    if not requirements:
        return sys.executable
    return built(folder, requirements, "\n".join(requirements))


def version(python: str, package: str) -> str:
    """Of a package that an interpreter has."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True)
    return done.stdout.decode().strip()


def npm_package(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A package of npm, `<name>@<version>`, unpacked within a folder."""
    target = folder / name.replace("/", "-")
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            with tarfile.open(npm.pack(name, aside)) as archive:
                archive.extractall(aside, filter="data")
            shutil.move(pathlib.Path(aside, "package"), target)
    return target
