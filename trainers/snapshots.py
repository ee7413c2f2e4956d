"""Saves all that a run needs to resume: net, optimizer, progress.

    <run>/snapshots/<updates>/net/                    see cnet_tf/checkpoint.py
    <run>/snapshots/<updates>/optimizer.safetensors   its variables, in order
    <run>/snapshots/<updates>/progress.json           the rest
    <run>/snapshots/<updates>/manifest.json           the sha256 of each of these files

A snapshot is written aside and renamed, so it is whole or absent. If one is
damaged, the one before is used.

An interruption's snapshot is called <updates>-interrupted and lasts until the next one.
Rollback ignores these, so results do not depend on when a run stopped.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import keras
from keras import ops

from cnet_tf import checkpoint, tensor_file
from cnet_tf.atomic_file import write_json

_FOLDER = "snapshots"
_PROGRESS = "progress.json"
_OPTIMIZER = "optimizer.safetensors"
_MANIFEST = "manifest.json"
_INTERRUPTED = "-interrupted"


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: The epoch of the next batch.
        batch: The next batch of that epoch.
        updates: Updates so far.
        totals: Sums of losses, correct answers and examples of that epoch.
        refined: Epochs before which the depth was refined.
        diverged: Rejected updates, each followed by a rollback.
        history: The logs of the epochs that are done.
        seconds: Spent in training, over all processes.
    """

    epoch: int = 0
    batch: int = 0
    updates: int = 0
    totals: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    refined: list[int] = dataclasses.field(default_factory=list)
    diverged: list[int] = dataclasses.field(default_factory=list)
    history: list[dict] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A snapshot whose files were found to be whole.

    Attributes:
        folder: Where it is.
        files: By their path in it.
    """

    folder: pathlib.Path
    files: dict[str, tensor_file.VerifiedFile]


class SnapshotError(checkpoint.CheckpointError):
    """A snapshot is damaged. The message is one line."""


def save(
    run,
    net: keras.Model,
    optimizer,
    progress: Progress,
    metadata: dict,
    keep: int,
    interrupted=False,
):
    """Writes a snapshot, then removes all but the newest ones.

    Args:
        run: The run directory.
        net, optimizer: Built.
        progress: So far.
        metadata: See `checkpoint.save`.
        keep: Snapshots to keep, at least 1.
        interrupted: Whether an interruption asked for it: `keep` others stay.
    """
    folder = pathlib.Path(run, _FOLDER)
    folder.mkdir(exist_ok=True)
    for old in folder.glob("tmp-*"):  # Of a process that was killed while it saved.
        shutil.rmtree(old)
    temporary = folder / f"tmp-{os.getpid()}"
    try:
        checkpoint.save(net, temporary / "net", metadata)
        tensor_file.write(temporary / _OPTIMIZER, _arrays(optimizer))
        write_json(temporary / _PROGRESS, dataclasses.asdict(progress))
        write_json(temporary / _MANIFEST, _checksums(temporary))
    except OSError:  # On a full disk its room is needed.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    target = folder / (f"{progress.updates:09d}" + _INTERRUPTED * interrupted)
    if target.exists():  # From before a restart; of the same bits.
        shutil.rmtree(target)
    os.rename(temporary, target)
    _flush(folder)
    regular = [name for name in names(run) if name.isdecimal()]
    for name in names(run):
        if name != target.name and name not in regular[-keep:]:
            shutil.rmtree(folder / name)


def names(run) -> list[str]:
    """The names of the snapshots of a run, the oldest first."""
    folder = pathlib.Path(run, _FOLDER)
    if not folder.is_dir():
        return []
    return sorted(
        name
        for name in os.listdir(folder)
        if name.removesuffix(_INTERRUPTED).isdecimal()
    )


def newest(run, tell=print) -> Snapshot | None:
    """Finds the newest whole snapshot, or None; reports damaged ones."""
    for name in reversed(names(run)):
        try:
            return verify(pathlib.Path(run, _FOLDER, name))
        except SnapshotError as error:
            tell(f"Passing over a damaged snapshot: {error}")
    return None


def go_back(run, updates: int) -> Snapshot | None:
    """The newest whole snapshot of fewer updates, or None; later ones are removed.

    So are those of interruptions: none of them stands for what comes next.
    """
    for name in reversed(names(run)):
        if not name.isdecimal() or int(name) >= updates:
            shutil.rmtree(pathlib.Path(run, _FOLDER, name))
    return newest(run)


def load(snapshot: Snapshot, make_optimizer):
    """Reads a snapshot, without hashing its files again.

    Args:
        snapshot: From `newest` or `verify`.
        make_optimizer: Function of a net to its built optimizer.

    Returns:
        (net, optimizer, progress).

    Raises:
        SnapshotError: it is not one of ours.
    """
    folder, files = snapshot.folder, snapshot.files
    with _undamaged(folder):
        progress = Progress(**json.loads((folder / _PROGRESS).read_text()))
        net = checkpoint.load(folder / "net", files.values()).net
        optimizer = make_optimizer(net)
        arrays = files[_OPTIMIZER].read(
            {k: (v.shape, v.dtype) for k, v in _arrays(optimizer).items()}
        )
    for variable, name in zip(optimizer.variables, arrays, strict=True):
        variable.assign(arrays[name])
    return net, optimizer, progress


def verify(folder) -> Snapshot:
    """Compares every file of a snapshot with its manifest.

    Raises:
        SnapshotError: one of them differs, or is a link, missing or too many.
    """
    folder = pathlib.Path(folder)
    with _undamaged(folder):
        if folder.is_symlink():
            raise ValueError("expected a folder. Received a link.")
        checksums = json.loads((folder / _MANIFEST).read_text())
        found = {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if not path.is_dir()
        }
        if found != {_MANIFEST, *checksums}:
            raise ValueError(f"expected the files {sorted(checksums)}.")
        files = {
            name: tensor_file.VerifiedFile(folder / name, sha256)
            for name, sha256 in checksums.items()
        }
    return Snapshot(folder, files)


@contextlib.contextmanager
def _undamaged(folder):
    """Turns what a damaged file may raise into a one-line error."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise SnapshotError(f"{folder}: {type(error).__name__}: {reason}") from error


def _checksums(folder) -> dict:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _arrays(optimizer: keras.optimizers.Optimizer) -> dict:
    """The variables of an optimizer by their number, so that names sort in order."""
    return {
        f"{i:05d}": ops.convert_to_numpy(variable)
        for i, variable in enumerate(optimizer.variables)
    }


def _flush(folder):
    """Makes a rename in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
