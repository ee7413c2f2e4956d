"""Copies the chief's folder to every worker."""

import contextlib
import io
import pathlib
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

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


def _pack(folder) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def _broadcast(place, content: bytes) -> bytes:
    """Sends the chief's content, as a sum to which the others add zeros."""
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
