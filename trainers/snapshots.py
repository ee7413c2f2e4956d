"""Saves everything a run needs to resume: net, optimizer, progress.

    <run>/snapshots/<updates>/net/                    see cnet_tf/checkpoint.py
    <run>/snapshots/<updates>/optimizer.safetensors   its variables, in order
    <run>/snapshots/<updates>/progress.json           the rest
    <run>/snapshots/<updates>/manifest.json           the sha256 of each of these files

A snapshot is written aside and renamed, so it is whole or absent. If one is
damaged, the previous one is used.

The snapshot of an interruption is called <updates>-interrupted and is kept until the
next one is saved. Rollback ignores these, so results do not depend on when a run
stopped.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil

import keras
from keras import ops

from cnet_tf import bounds, checkpoint, plain_file, temporary, tensor_file
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
        factors: The factor of each block at each of these refinements; none for the
            stages of --grow.
        diverged: Rejected updates, each followed by a rollback.
        history: The logs of the finished epochs.
        seconds: Time spent in training, over all processes.
    """

    epoch: int = 0
    batch: int = 0
    updates: int = 0
    totals: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    refined: list[int] = dataclasses.field(default_factory=list)
    factors: list[list[int]] = dataclasses.field(default_factory=list)
    diverged: list[int] = dataclasses.field(default_factory=list)
    history: list[dict] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def check(self, epochs: int, per_epoch: int) -> None:
        """Compares its numbers with each other and with the length of a run.

        Args:
            epochs: Epochs of the run.
            per_epoch: Updates per epoch.

        Raises:
            SnapshotError: the numbers belong to another run, or to none.
        """
        agree = {
            "epoch": self.epoch <= epochs,
            "batch": self.batch <= per_epoch,
            "updates": self.updates == self.epoch * per_epoch + self.batch,
            "history": len(self.history) == self.epoch,
            "totals": (self.totals[2] > 0) == (self.batch > 0),
            "seconds": self.seconds > 0 or not self.updates,
        }
        for name, right in agree.items():
            if not right:
                value = getattr(self, name)
                raise SnapshotError(
                    f"{name} of a snapshot: expected one that agrees with the others "
                    f"and with {epochs} epochs of {per_epoch} batches. Received "
                    f"{str(value)[:80]}: start a new run with --noresume."
                )


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A snapshot whose files were verified.

    Attributes:
        folder: Where it is.
        files: The verified files by their path in the folder.
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
        progress: The progress so far.
        metadata: See `checkpoint.save`.
        keep: Snapshots to keep, at least 1.
        interrupted: Whether an interruption asked for it; then `keep` others stay.
    """
    folder = _folder(run)
    folder.mkdir(exist_ok=True)
    # Nothing is left behind if this fails: on a full disk the room is needed.
    with temporary.folder(folder) as aside:
        checkpoint.save(net, aside / "net", metadata)
        tensor_file.write(aside / _OPTIMIZER, _arrays(optimizer))
        write_json(aside / _PROGRESS, dataclasses.asdict(progress))
        write_json(aside / _MANIFEST, _checksums(aside))
        target = folder / (f"{progress.updates:09d}" + _INTERRUPTED * interrupted)
        if target.exists():  # From before a restart, with the same bits.
            shutil.rmtree(target)
        os.rename(aside, target)
    temporary.folder_to_disk(folder)
    regular = [name for name in names(run) if name.isdecimal()]
    for name in names(run):
        if name != target.name and name not in regular[-keep:]:
            shutil.rmtree(folder / name)


def names(run) -> list[str]:
    """Lists the names of the snapshots of a run, oldest first."""
    folder = _folder(run)
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
            return verify(_folder(run) / name)
        except SnapshotError as error:
            tell(f"Skipping a damaged snapshot: {error}")
    return None


def go_back(run, updates: int) -> Snapshot | None:
    """Finds the newest whole snapshot with fewer updates, or None; removes later ones.

    It also removes those of interruptions, so that results do not depend on them.
    """
    for name in reversed(names(run)):
        if not name.isdecimal() or int(name) >= updates:
            shutil.rmtree(_folder(run) / name)
    return newest(run)


def load(snapshot: Snapshot, make_optimizer):
    """Reads a snapshot, without hashing its files again.

    Args:
        snapshot: From `newest` or `verify`.
        make_optimizer: Function of a net to its built optimizer.

    Returns:
        (net, optimizer, progress).

    Raises:
        SnapshotError: it is not a snapshot of ours.
    """
    folder, files = snapshot.folder, snapshot.files
    with _undamaged(folder):
        progress = _progress(folder / _PROGRESS)
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
        SnapshotError: a file differs, is a link, is missing or is not in the manifest.
    """
    folder = pathlib.Path(folder)
    with _undamaged(folder):
        plain_file.check_no_link(folder)
        checksums = _manifest(folder / _MANIFEST)
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


def _folder(run) -> pathlib.Path:
    """Returns the folder of the snapshots of a run.

    Raises:
        PlainFileError: it is a link, at whose target snapshots would be removed.
    """
    folder = pathlib.Path(run, _FOLDER)
    plain_file.check_no_link(folder)
    return folder


def _progress(path) -> Progress:
    """Reads progress.json.

    Raises:
        ValueError: it holds something else, or a number out of bounds.
    """
    plain = dataclasses.asdict(Progress())
    # Older runs do not store the factors, and nothing later depends on them.
    stored = {"factors": [], **plain_file.read_json(path)}
    if stored.keys() != plain.keys():
        raise ValueError(f"expected the keys {sorted(plain)}.")
    bounds.check(stored.items(), bounds.PROGRESS)
    for key, value in stored.items():
        if value is None or isinstance(value, list) != isinstance(plain[key], list):
            raise ValueError(f"{key}: expected a value like {plain[key]!r}.")
    if len(stored["totals"]) != len(plain["totals"]):
        raise ValueError("totals: expected three numbers.")
    for key in ("refined", "diverged"):
        if any(isinstance(number, list) for number in stored[key]):
            raise ValueError(f"{key}: expected a list of numbers.")
    if not all(isinstance(factors, list) for factors in stored["factors"]):
        raise ValueError("factors: expected a list of numbers for each refinement.")
    if not all(map(_is_log, stored["history"])):
        raise ValueError("history: expected a dict of numbers for each epoch.")
    return Progress(**stored)


def _is_log(value) -> bool:
    return isinstance(value, dict) and all(
        isinstance(n, (int, float)) and not isinstance(n, bool) for n in value.values()
    )


def _manifest(path) -> dict[str, str]:
    """Reads manifest.json: the sha256 of each file."""
    stored = plain_file.read_json(path)
    if not all(re.fullmatch("[0-9a-f]{64}", str(value)) for value in stored.values()):
        raise ValueError("expected a sha256 for each file.")
    return stored


@contextlib.contextmanager
def _undamaged(folder):
    """Turns whatever a damaged file may raise into a one-line error."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{folder}: {type(error).__name__}: {error}") from error


def _checksums(folder) -> dict:
    return {
        str(path.relative_to(folder)): plain_file.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _arrays(optimizer: keras.optimizers.Optimizer) -> dict:
    """Returns an optimizer's variables by number, so that names sort in order."""
    return {
        f"{i:05d}": ops.convert_to_numpy(variable)
        for i, variable in enumerate(optimizer.variables)
    }
