"""Compares an export with the Keras net it was made from.

    delta = max |logits of the export - logits of Keras|

over real test images in batches of 1, 7 and 128, and over edge inputs. An export that
returns probabilities p instead of logits z is compared by those; because
|dp| <= max |dz| / 2, half of the delta is allowed. Functions here know neither formats
nor files. `gate.py` judges the result.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from cnet_tf.line_error import LineError
from trainers.errors import OptionError

# One image, an odd batch, then large ones: they make a graph with a fixed or rounded
# batch size fail.
BATCH_SIZES = (1, 7, 128)
# How far probabilities, and their sums, may be off in any precision, 8 bits included.
ROUNDED = 1e-2
# Outputs to compare an export by, the first that it has, and the share of the delta of
# logits that is allowed. Labels have no delta, only an accuracy.
SHARES = {"logits": 1.0, "probabilities": 0.5, "label": math.inf}


class ParityError(LineError):
    """An export that does not agree with Keras. The message is one line."""


class UnusableNet(ParityError):
    """A net whose logits are not finite in Keras either. The message is one line."""

    exit_code = 3


@dataclasses.dataclass(frozen=True)
class Parity:
    """How an export compares with Keras.

    Attributes:
        delta: max |delta| of `compared`; infinite if a number is not finite.
        worst: The batch with that difference.
        images: Number of images behind the accuracies.
        labelled: Whether they have labels. If not, those of Keras count as correct, so
            that the export's accuracy is how often both agree.
        compared: A key of `SHARES`.
        reference_accuracy, candidate_accuracy: Of Keras and of the export, in [0, 1];
            the export's from its own labels, or scores if it gives none.
        size: The largest |logit| of Keras.
        beside: max |delta| of the probabilities where logits are compared too.
        apart: How far these are from the softmax of the export's own logits.
    """

    delta: float
    worst: str
    images: int
    reference_accuracy: float
    candidate_accuracy: float
    labelled: bool = True
    compared: str = "logits"
    size: float = 0.0
    beside: float = 0.0
    apart: float = 0.0

    @property
    def gained(self) -> float:
        """Points of accuracy by which the export exceeds Keras."""
        return 100 * (self.candidate_accuracy - self.reference_accuracy)


def split(images: np.ndarray, sizes=BATCH_SIZES) -> Iterator[np.ndarray]:
    """Splits images into batches of these sizes in turn; the last size repeats."""
    start = 0
    while start < len(images):
        size, *rest = sizes
        yield images[start : start + size]
        start += size
        sizes = rest or sizes


def edge_batches(shape) -> dict[str, np.ndarray]:
    """Makes inputs at the ends of the range, uint8 pixels (B, *shape), by name."""
    black = np.zeros(shape, np.uint8)
    white = np.full(shape, 255, np.uint8)
    noise = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), shape)
    return {
        "black": black[None],
        "white": white[None],
        "black, white, noise": np.stack([black, white, noise]),
    }


def max_delta(reference, candidate) -> float:
    """Returns max |candidate - reference|, infinite if any number is not finite.

    Raises:
        ParityError: the shapes differ.
    """
    reference, candidate = np.asarray(reference), np.asarray(candidate)
    if reference.shape != candidate.shape:
        raise ParityError(
            f"parity: expected scores of shape {reference.shape}. Received "
            f"{candidate.shape}: the exported graph is wrong, please report it."
        )
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        return float("inf")
    return float(np.abs(candidate.astype("float64") - reference).max())


def check_usable(name: str, logits) -> None:
    """Refuses a net whose own logits are not finite, or are probabilities.

    Raises:
        UnusableNet: some are not finite; names the manifestation.
        OptionError: they are probabilities, to which exports would apply a softmax.
    """
    logits = np.asarray(logits)
    off = np.abs(logits.astype("float64").sum(axis=-1) - 1)
    # Outputs of a softmax lie between zero and one.
    inner = np.any((logits > 0) & (logits < 1))
    if inner and np.all(logits >= 0) and np.all(off < ROUNDED):
        raise OptionError(
            f"--run, --model: expected logits. Received {name}, whose outputs are "
            "probabilities: leave out the softmax, exports return both."
        )
    finite = np.isfinite(logits).all(axis=-1)
    if not finite.all():
        raise UnusableNet(
            f"--run: expected a manifestation with finite logits. Received {name}, "
            f"which gives non-finite ones for {np.sum(~finite)} of {finite.size} "
            "images even in Keras, so it is unusable and nothing was written: choose "
            "other --steps or another --scheme, or train with a smaller --horizon."
        )


def compare(
    reference: Callable,
    candidate: Callable,
    images: np.ndarray,
    labels: np.ndarray | None,
    parity_images: int | None = None,
    voter: Callable | None = None,
) -> Parity:
    """Compares two functions of uint8 pixels.

    Args:
        reference: Function to logits.
        candidate: Function to a dict with some of logits, probabilities and label.
        images: uint8 (B, H, W, C), B at least 1.
        labels: (B,), or None if unknown.
        parity_images: Compare logits on that many images, rounded up to whole batches,
            and accuracy on all. Default: all.
        voter: The reference in a faster form, for the remaining images, of which only
            the labels count. Logits are compared with the reference itself, which
            shares no graph with the export. Default: the reference.

    Raises:
        ParityError: shapes differ, or the logits of the reference are not finite.
    """
    deltas, right = {}, np.zeros(2, int)
    seen, size, beside, apart = 0, 0.0, 0.0, 0.0
    for batch in split(images):
        looked_at = parity_images is None or seen < parity_images
        source = reference if looked_at or voter is None else voter
        expected, received = np.asarray(source(batch)), candidate(batch)
        check_usable("a net", expected)
        if looked_at:
            name = f"images {seen}..{seen + len(batch) - 1}"
            deltas[name] = _delta(expected, received)
            if {"logits", "probabilities"} <= received.keys():
                beside = max(beside, _beside(expected, received))
                apart = max(apart, _beside(received["logits"], received))
            size = max(size, _size(expected))
        votes = expected.argmax(-1), _votes(received)
        truth = votes[0] if labels is None else labels[seen : seen + len(batch)]
        right += [np.sum(vote == truth) for vote in votes]
        seen += len(batch)
    for name, batch in edge_batches(images.shape[1:]).items():
        expected = np.asarray(reference(batch))
        deltas[name] = _delta(expected, candidate(batch))
        size = max(size, _size(expected))
    worst = max(deltas, key=deltas.get)
    accuracies = (right / seen).tolist()
    known, compared = labels is not None, _compared(received)
    found = deltas[worst], worst, seen, *accuracies, known, compared
    return Parity(*found, size, beside, apart)


def _size(logits) -> float:
    return float(np.abs(logits).max()) if np.isfinite(logits).all() else 0.0


def _compared(outputs) -> str:
    return next(name for name in SHARES if name in outputs)


def _delta(logits, outputs) -> float:
    name = _compared(outputs)
    if name == "label":
        return 0.0
    expected = _softmax(logits) if name == "probabilities" else logits
    return max_delta(expected, outputs[name])


def _beside(logits, outputs) -> float:
    return max_delta(_softmax(np.asarray(logits)), outputs["probabilities"])


def _softmax(logits):
    with np.errstate(invalid="ignore"):  # Of an infinite logit.
        powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _votes(outputs):
    if "label" in outputs:
        return np.asarray(outputs["label"])
    return np.asarray(outputs[_compared(outputs)]).argmax(-1)
