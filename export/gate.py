"""Judges how an export compares with Keras, and shows it.

delta <= allowed,    -drop <= accuracy - accuracy of Keras <= gain
"""

import dataclasses
import math

from export.parity import ROUNDED, SHARES, Parity, ParityError

# Prefix of the only column heading whose values differ from export to export.
LATENCY = "latency"
# The size of logits up to which their delta is absolute. Beyond it grows with them, as
# rounding in float32 does.
_LARGE = 10.0


@dataclasses.dataclass(frozen=True)
class Gate:
    """How far an export may differ from Keras.

    Attributes:
        delta: Largest allowed max |delta logits|.
        drop, gain: Points of test accuracy that it may lose or gain (0.01 is one image
            in ten thousand).
        images: Number of images that it may lose in any case: on few images, a drop in
            points can be less than one image. Default: 0.
    """

    delta: float
    drop: float
    gain: float
    images: int = 0

    @classmethod
    def exact(cls, delta) -> "Gate":
        """For float32: logits within delta, accuracy within 0.02 points."""
        return cls(delta, 0.02, 0.02)

    @classmethod
    def reduced(cls) -> "Gate":
        """For reduced precision: half a point of accuracy may be lost, or two images.

        Two, because a change of rounding can gain or lose one image by chance.
        """
        return cls(math.inf, 0.5, math.inf, images=2)

    @property
    def usual_images(self) -> int:
        """Number of images to compare accuracies on unless the user decides.

        If the logits must agree too, just enough that one changed vote, on an image
        whose best logits tie, is within the gate. If not, enough to detect the loss of
        one image in two hundred despite chance.
        """
        return 5_000 if math.isfinite(self.delta) else 10_000

    def allowed_delta(self, parity: Parity) -> float:
        """Returns the largest delta that may be found."""
        growth = max(1.0, parity.size / _LARGE) if parity.compared == "logits" else 1.0
        return self.delta * SHARES[parity.compared] * growth

    def allowed_drop(self, images: int) -> float:
        """Returns the points of accuracy that may be lost on that many images."""
        return max(self.drop, 100 * self.images / images)


def check(parity: Parity, gate: Gate, remedy: str = "please report it") -> None:
    """Raises ParityError unless the scores and the accuracy are within the gate.

    Args:
        parity: The result.
        gate: The gate that it must pass.
        remedy: What the user can do about lost accuracy. Default: report it.
    """
    allowed, share = gate.allowed_delta(parity), SHARES["probabilities"]
    where = f" on {parity.worst}"
    _require(parity.compared, "Keras", parity.delta, allowed, where)
    _require("probabilities", "Keras", parity.beside, allowed * share)
    _require("probabilities", "the softmax of the logits", parity.apart, ROUNDED)
    drop = gate.allowed_drop(parity.images)
    if not parity.labelled and parity.gained < -drop - 1e-9:
        raise ParityError(
            f"parity: expected the label of Keras on {100 - drop:.4g} % of the "
            f"images. Received {100 * parity.candidate_accuracy:.2f} % of "
            f"{parity.images} without labels: nothing was written, give real images "
            "with --images, or keep more bits."
        )
    # One vote in 5,000 is 0.02 points exactly, but not in binary.
    if not -drop - 1e-9 <= parity.gained <= gate.gain + 1e-9:
        raise ParityError(
            f"parity: expected an accuracy from {drop:.2g} points below to "
            f"{gate.gain} above the {100 * parity.reference_accuracy:.2f} % of Keras. "
            f"Received {100 * parity.candidate_accuracy:.2f} % on {parity.images} "
            f"images, each worth {100 / parity.images:.2g} points: nothing was "
            f"written, {remedy}."
        )


def _require(output, reference, delta, limit, where=""):
    if not (math.isfinite(delta) and delta <= limit):
        raise ParityError(
            f"parity: expected {output} within {limit:.0e} of {reference}. Received a "
            f"difference of {delta:.1e}{where}: nothing was written, please report it."
        )


def passes(parity: Parity, gate: Gate) -> bool:
    """Returns whether the scores and the accuracy are within the gate."""
    try:
        check(parity, gate)
    except ParityError:
        return False
    return True


def row(
    name: str, size: int, parity: Parity, gate: Gate, latency: float, batch: int = 1
) -> dict:
    """Formats the facts of one export as cells of a table, by heading.

    Args:
        name: Name of the manifestation.
        size: Size in bytes.
        parity, gate: The result, and the gate that it must pass.
        latency: Seconds for `batch` images.
        batch: Batch size. Default: 1.
    """
    limit = gate.allowed_delta(parity)
    drop = f"-{gate.allowed_drop(parity.images):.2g} points"
    delta = {f"max abs delta {parity.compared}": f"{parity.delta:.1e}"}
    scores = {
        "accuracy, Keras": f"{parity.reference_accuracy:.4f}",
        "accuracy, export": f"{parity.candidate_accuracy:.4f}",
    }
    if not parity.labelled:
        scores = {"same label as Keras": f"{parity.candidate_accuracy:.4f}"}
    return {
        "manifestation": name,
        "size (kB)": f"{size / 1000:,.1f}",
        **({} if parity.compared == "label" else delta),
        "gate": f"{limit:.0e}" if math.isfinite(limit) else drop,
        "images": f"{parity.images:,}",
        **scores,
        f"{LATENCY}, {batch} image{'s' * (batch > 1)} (ms)": f"{1000 * latency:.3f}",
    }
