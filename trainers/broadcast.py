"""Copies the chief's folder to every worker."""

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

from trainers.identity import Identity
from trainers.identity import check_workers as compare
from trainers.place import Place


@contextlib.contextmanager
def shared_folder(place: Place, folder):
    """Gives every worker the chief's folder; all workers must call it.

    Args:
        place: Where the run trains.
        folder: The chief's folder or None; ignored on other workers.

    Yields:
        A folder with the same files: the chief's own, a temporary one elsewhere; None
        where the chief has none.
    """
    if place.workers == 1:
        yield folder
        return
    content = _broadcast(place, _pack(folder) if folder else b"")
    if place.chief or not content:
        yield folder if content else None
        return
    with tempfile.TemporaryDirectory() as copy:
        zipfile.ZipFile(io.BytesIO(content)).extractall(copy)
        yield pathlib.Path(copy)


def gathered(place: Place, content: bytes) -> list[bytes]:
    """Returns every worker's content, by worker number; all workers must call it."""
    if place.workers == 1:
        return [content]
    sizes = _rows(place, np.array([len(content)]))[:, 0]
    padded = np.zeros(int(sizes.max()), "int32")
    padded[: len(content)] = np.frombuffer(content, "uint8")
    rows = _rows(place, padded).astype("uint8")
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def check_workers(place: Place, identity: Identity) -> None:
    """Compares what determines the numbers; all workers must call it.

    Raises:
        OptionError: see `identity.check_workers`.
    """
    found = gathered(place, json.dumps(dataclasses.asdict(identity)).encode())
    compare([Identity(**json.loads(content)) for content in found])


def anyone(place: Place, flag: bool) -> bool:
    """Whether any worker raises its flag; all workers must call it."""
    return any(content == b"1" for content in gathered(place, b"1" if flag else b"0"))


def _rows(place, array) -> np.ndarray:
    """Stacks the arrays of all workers, of equal shape, as the rows of a table."""
    here = place.replicas // place.workers

    def of_replica(context):
        worker, replica = divmod(context.replica_id_in_sync_group, here)
        table = np.zeros((place.workers, len(array)), array.dtype)
        if replica == 0:
            table[worker] = array
        return tf.constant(table)

    strategy = place.strategy
    values = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()


def _pack(folder) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def _broadcast(place, content: bytes) -> bytes:
    """Sends the chief's content as a sum to which the other workers add zeros."""
    strategy, chief = place.strategy, place.chief

    def total(array):
        def of_replica(context):
            first = chief and context.replica_id_in_sync_group % here == 0
            return tf.constant(array if first else np.zeros_like(array))

        here = place.replicas // place.workers
        values = strategy.experimental_distribute_values_from_function(of_replica)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()

    size = int(total(np.array([len(content) if chief else 0])).item())
    if not size:  # TensorFlow crashes when it sums no elements.
        return b""
    words = np.zeros(-(-size // 4) * 4, "uint8")
    if chief:
        words[:size] = np.frombuffer(content, "uint8")
    return total(words.view("int32")).tobytes()[:size]
