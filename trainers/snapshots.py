"""All that training needs to go on, on disk: net, optimizer, progress.

    <run>/snapshots/<updates>/net/                    see cnet_tf/checkpoint.py
    <run>/snapshots/<updates>/optimizer.safetensors   its variables, in order
    <run>/snapshots/<updates>/progress.json           the rest, with the checksum

A snapshot is written aside and renamed, so that it is there as a whole or not at all.
Those that turn out to be damaged are passed over for the one before.
"""

import dataclasses
import json
import os
import pathlib
import shutil

import keras
from keras import ops

from cnet_tf import checkpoint, tensor_file
from cnet_tf.net import Net

_FOLDER = "snapshots"
_PROGRESS = "progress.json"
_OPTIMIZER = "optimizer.safetensors"


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: The epoch of the next batch.
        batch: The next batch of that epoch.
        updates: Updates so far.
        totals: Sums of losses, right answers and examples of that epoch.
        refined: Epochs before which the depth was refined.
        history: The logs of the epochs that are done.
        seconds: Spent in training, over all processes.
    """

    epoch: int = 0
    batch: int = 0
    updates: int = 0
    totals: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    refined: list[int] = dataclasses.field(default_factory=list)
    history: list[dict] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class SnapshotError(ValueError):
    """A snapshot is damaged. The message is one line."""


def save(run, net: Net, optimizer, progress: Progress, metadata: dict, keep: int):
    """Writes a snapshot, then removes all but the newest ones.

    Args:
        run: The run directory.
        net, optimizer: Built.
        progress: So far.
        metadata: See `checkpoint.save`.
        keep: Snapshots to keep, at least 1.
    """
    folder = pathlib.Path(run, _FOLDER)
    folder.mkdir(exist_ok=True)
    for old in folder.glob("tmp-*"):  # Of a process that was killed while it saved.
        shutil.rmtree(old)
    temporary = folder / f"tmp-{os.getpid()}"
    checkpoint.save(net, temporary / "net", metadata)
    sha256 = tensor_file.write(temporary / _OPTIMIZER, _arrays(optimizer))
    checkpoint.write_json(
        temporary / _PROGRESS,
        {"optimizer_sha256": sha256, "progress": dataclasses.asdict(progress)},
    )
    target = folder / f"{progress.updates:09d}"
    if target.exists():  # From before a restart; of the same bits.
        shutil.rmtree(target)
    os.rename(temporary, target)
    _flush(folder)
    for old in names(run)[:-keep]:
        shutil.rmtree(folder / old)


def names(run) -> list[str]:
    """The names of the snapshots of a run, the oldest first."""
    folder = pathlib.Path(run, _FOLDER)
    if not folder.is_dir():
        return []
    return sorted(name for name in os.listdir(folder) if name.isdecimal())


def load(run, name: str, make_optimizer):
    """Reads a snapshot.

    Args:
        run: The run directory.
        name: From `names`.
        make_optimizer: Function of a net to its built optimizer.

    Returns:
        (net, optimizer, progress).

    Raises:
        SnapshotError: it is damaged.
    """
    folder = pathlib.Path(run, _FOLDER, name)
    try:
        stored = json.loads((folder / _PROGRESS).read_text())
        progress = Progress(**stored["progress"])
        net = checkpoint.load(folder / "net").net
        optimizer = make_optimizer(net)
        arrays = tensor_file.read(
            folder / _OPTIMIZER,
            stored["optimizer_sha256"],
            {k: (v.shape, v.dtype) for k, v in _arrays(optimizer).items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{folder}: {type(error).__name__}: {error}") from error
    for variable, name in zip(optimizer.variables, arrays, strict=True):
        variable.assign(arrays[name])
    return net, optimizer, progress


def newest(run, make_optimizer, tell=print):
    """The newest snapshot that is whole, or None; damaged ones are told of."""
    for name in reversed(names(run)):
        try:
            return load(run, name, make_optimizer)
        except SnapshotError as error:
            tell(f"Passing over a damaged snapshot: {' '.join(str(error).split())}")
    return None


def _arrays(optimizer: keras.optimizers.Optimizer) -> dict:
    """The variables of an optimizer by their number, so that names sort in order."""
    return {
        f"{i:05d}": ops.convert_to_numpy(variable)
        for i, variable in enumerate(optimizer.variables)
    }


def _flush(folder):
    """Makes a rename in a folder last over a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
