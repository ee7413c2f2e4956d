"""The bounds of every number in a stored description, in one table.

A description alone could demand endless work or all memory. The bounds lie far above
anything that is trained in practice; values outside them are refused before work
starts. Nothing is converted: true is not 1, and "2" is not 2.
"""

import dataclasses
import math
from collections.abc import Iterable

from cnet_tf.line_error import LineError


class BoundError(LineError):
    """A number of a description is out of bounds; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """The range of values that a number may have.

    Attributes:
        low, high: The ends of the range, both included.
        whole: Whether the number must be an integer.
        words: Whether a string, truth value or dict is allowed too, to be checked
            elsewhere.
    """

    low: float
    high: float
    whole: bool = True
    words: bool = False

    def holds(self, value) -> bool:
        """Returns whether a value is such a number, None, or a list of such values."""
        if value is None:
            return True
        if isinstance(value, (list, tuple)):
            return all(map(self.holds, value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self.words and isinstance(value, (bool, str, dict))
        if self.whole and not isinstance(value, int):
            return False
        return self.low <= value <= self.high  # False for NaN.

    def __str__(self):
        kind = "an integer" if self.whole else "a number"
        return f"{kind} from {self.low:,} to {self.high:,}"


def _reals(low, high, **settings):
    return Bound(low, high, whole=False, **settings)


MOST_NODES = MOST_STEPS = 1024
# For a horizon, and for anything that multiplies a state.
MOST_FACTOR = 1e6
MOST_CLASSES = 100_000
MOST_SIDE = 4096
# Numbers in an input, or in the output of a layer: 256 MB in float32.
MOST_ELEMENTS = 2**26
# Layer evaluations per example: cifar10_8-8-8_rk4 has 1,200.
MOST_WORK = 200_000

_SIZE = Bound(1, 2**20)
_SMALL = Bound(0, MOST_SIDE, words=True)
_AXIS = Bound(-16, 16, words=True)
_PART = _reals(0, 1)
_FACTOR = _reals(-MOST_FACTOR, MOST_FACTOR, words=True)

# Keyed by the name of a setting of a layer, initializer, regularizer or constraint.
SETTINGS: dict[str, Bound] = {
    # Depth.
    "nodes": Bound(1, MOST_NODES),
    "steps": Bound(1, MOST_STEPS),
    "horizon": _reals(-MOST_FACTOR, MOST_FACTOR),
    "initial": _reals(-1e6, 1e6),
    # Shapes. None stands for a free size, -1 in Reshape for the rest.
    **dict.fromkeys(
        ("batch_shape", "batch_input_shape", "input_shape", "shape"), Bound(1, 2**24)
    ),
    **dict.fromkeys(("target_shape", "output_shape"), Bound(-1, 2**24)),
    # Widths.
    **dict.fromkeys(
        (
            "filters",
            "units",
            "output_dim",
            "key_dim",
            "value_dim",
            "head_dim",
            "num_heads",
            "num_query_heads",
            "num_key_value_heads",
            "groups",
            "depth_multiplier",
            "lora_rank",
            "num_tokens",
            "num_bins",
            "max_tokens",
            "max_number",
            "output_sequence_length",
            "sliding_window",
        ),
        _SIZE,
    ),
    "input_dim": Bound(1, 2**26),
    # Windows that slide over images and sequences.
    **dict.fromkeys(
        (
            "kernel_size",
            "strides",
            "dilation_rate",
            "pool_size",
            "size",
            "output_size",
            "height",
            "width",
            "tile_grid_size",
            "num_mel_bins",
        ),
        Bound(1, MOST_SIDE),
    ),
    **dict.fromkeys(("padding", "cropping", "output_padding"), _SMALL),
    **dict.fromkeys(
        ("n", "fft_length", "frame_length", "frame_step", "sequence_stride"),
        Bound(1, 2**16),
    ),
    **dict.fromkeys(
        ("power_iterations", "ngrams", "num_ops", "chain_depth", "num_chains"),
        Bound(1, 100),
    ),
    **dict.fromkeys(("axis", "axes", "dims", "attention_axes", "shared_axes"), _AXIS),
    # Arithmetic.
    **dict.fromkeys(("momentum", "renorm_momentum"), _PART),
    **dict.fromkeys(("rate", "dropout", "recurrent_dropout"), _PART),
    "epsilon": _reals(0, 1e3),
    **dict.fromkeys(("scale", "offset"), _FACTOR),
    **dict.fromkeys(("l1", "l2"), _reals(0, 1e6)),
    "stddev": _reals(0, 1e6),
    "seed": Bound(-(2**63), 2**63, words=True),
    # An address in memory.
    "shared_object_id": Bound(0, 2**64),
}

# For a run's description of its data, see `trainers/data/description.py`.
DATA: dict[str, Bound] = {
    "image_shape": Bound(1, MOST_SIDE),
    "image_size": Bound(1, MOST_SIDE),
    "cutout": Bound(0, MOST_SIDE),
    "seed": Bound(0, 2**63),
    # For pixels between 0 and 1.
    "mean": _reals(-1e6, 1e6),
    "std": _reals(1e-9, 1e6),
}

# For the progress of a run, see `trainers/snapshots.py`.
PROGRESS: dict[str, Bound] = {
    **dict.fromkeys(
        ("epoch", "batch", "updates", "refined", "diverged"), Bound(0, 10**12)
    ),
    "factors": Bound(1, MOST_NODES),
    "totals": _reals(-1e300, 1e300),
    "seconds": _reals(0, 1e12),
}

# For any other name.
_WHOLE = Bound(-(2**31), 2**31)
_REAL = _reals(-1e30, 1e30)


def check(settings: Iterable[tuple], table: dict[str, Bound] = SETTINGS) -> None:
    """Refuses numbers, or lists of numbers, that are out of bounds.

    Args:
        settings: Pairs (name, value). Values that are not numbers are ignored unless
            the table asks for a number.
        table: Bounds by name.

    Raises:
        BoundError: a number is out of bounds; names the setting.
    """
    for name, value in settings:
        bound = table.get(name)
        if bound is not None and not bound.holds(value):
            raise BoundError(f"{name}: expected {bound}. Received {value!r}.")
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            other = bound or (_WHOLE if isinstance(number, int) else _REAL)
            if not other.holds(number):
                raise BoundError(f"{name}: expected {other}. Received {number!r}.")


def check_elements(shapes: Iterable[tuple]) -> None:
    """Refuses shapes of more than `MOST_ELEMENTS` numbers.

    Args:
        shapes: Pairs (name, shape), with None for a free size.

    Raises:
        BoundError: a shape has more; names it.
    """
    for name, shape in shapes:
        count = math.prod(n for n in shape if n is not None)
        if count > MOST_ELEMENTS:
            raise BoundError(
                f"{name}: expected at most {MOST_ELEMENTS:,} numbers per example. "
                f"Received the shape {tuple(shape)}."
            )
