"""Reads inputs from a file of arrays, for nets that do not take images."""

import numpy as np

from trainers.errors import OptionError

_EXPECTED = "a .npy of inputs, or a .npz of inputs x and labels y"


def batches(path, shape, options) -> list[tuple]:
    """Returns pairs (inputs, labels) of the first examples; labels may be None.

    Args:
        path: A .npy of inputs (examples, ..), or a .npz of these as x and of integer
            labels (examples, ..) as y. Nothing in it is unpickled.
        shape: The shape of one input of the net, None where a size is free.
        options: `looked_at.Options`: examples, batch_size, precision.

    Raises:
        OptionError: a file or array is missing or does not fit; names --inputs.
    """
    x, y = _arrays(path)
    fits = len(x.shape) == len(shape) + 1 and all(
        b in (None, a) for a, b in zip(x.shape[1:], shape, strict=True)
    )
    if not fits or not len(x):
        raise _refused(f"inputs (examples, {str(shape)[1:]}", f"x of shape {x.shape}")
    if x.dtype.kind not in "fiu" or not np.all(np.isfinite(x)):
        raise _refused("finite numbers", f"x of type {x.dtype}")
    if y is not None and (y.dtype.kind not in "iu" or len(y) != len(x)):
        raise _refused(
            f"{len(x)} integer labels y", f"{len(y)} of type {y.dtype}, {y.shape}"
        )
    if x.dtype.kind == "f":
        x = x.astype(options.precision)
    starts = range(0, min(len(x), options.examples), options.batch_size)
    parts = [slice(i, min(i + options.batch_size, options.examples)) for i in starts]
    return [(x[part], None if y is None else y[part]) for part in parts]


def _arrays(path):
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found, None
        with found:
            return found["x"], found["y"] if "y" in found else None
    except (OSError, ValueError, EOFError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise _refused(_EXPECTED, f"{path!r}: {reason}") from error


def _refused(expected, received) -> OptionError:
    return OptionError(
        f"--inputs: expected {expected}. Received {received}: write it with np.save or "
        "np.savez."
    )
