"""The records by which every format describes itself."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from export.gate import Gate
from export.serving import ARRAYS, OUTPUTS
from export.source import Source


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a format stores weights and activations.

    Attributes:
        gate: How far an export may differ from Keras.
        calibrated: Whether it learns the ranges of activations from training images.
        inputs: Keys of `serving.INPUTS` that it takes. Default: all but files.
    """

    gate: Gate
    calibrated: bool = False
    inputs: tuple[str, ...] = ARRAYS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to build from a net.

    Attributes:
        kind: A key of `serving.INPUTS`.
        precision: A key of `Format.precisions`.
        samples: uint8 (B, H, W, C): training images to calibrate on, or images that a
            server warms up with. Default: none read yet.
        model: Name of the model in TF Serving. Default `"cnet"`.
        outputs: Keys of `serving.OUTPUTS`, in order. Default: all.
        batch: Fixed batch size. Default: any.
        float_outputs: Whether outputs are floats although all else is integers.
    """

    kind: str
    precision: str
    samples: np.ndarray | None = None
    model: str = "cnet"
    outputs: tuple[str, ...] = tuple(OUTPUTS)
    batch: int | None = None
    float_outputs: bool = False


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or an output as the artefact itself declares it.

        real number = scale * (stored number - zero_point)

    Attributes:
        name: Its name in the signature.
        dtype: NumPy's name of its type; `"object"` means strings.
        scale, zero_point: Of stored integers; scale 0 means that the numbers are
            stored unscaled.
    """

    name: str
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclasses.dataclass(frozen=True)
class Format:
    """An export format. To add one, add a record.

    Attributes:
        name: Name in `table.FORMATS` and in reports, and the suffix of its files.
        title: Name for people.
        precisions: Precisions by name, those with more bits first.
        folds: Whether a single manifestation is folded unless the user decides.
        build: Maps `(source, recipe, description, folder)` to the path of the artefact,
            a file or folder in `folder`. The artefact contains the description if the
            format has a place for it.
        reload: Maps `(path, threads)` to its signatures, as functions of an array; a
            function that `measure` can import, see `runtimes`.
        tensors: Maps `(path)` to the `Tensor`s of `serving_default` by name: `image`,
            and the outputs.
        usage: Example calls by language, each a `string.Template` of the names from
            `snippets.names`.
        remark: Maps `(path, precision)` to a sentence on what the artefact turned out
            to be, which its user should know. Default: nothing.
    """

    name: str
    title: str
    precisions: dict[str, Precision]
    folds: bool
    build: Callable[[Source, Recipe, dict, pathlib.Path], pathlib.Path]
    reload: Callable[..., dict[str, Callable]]
    tensors: Callable[[pathlib.Path], dict[str, Tensor]]
    usage: dict[str, str]
    remark: Callable[[pathlib.Path, str], str] = lambda path, precision: ""

    def refusal(self, precision: str, kind: str) -> str:
        """Says why a precision does not take that kind of input; empty if it does."""
        inputs = self.precisions[precision].inputs
        if kind in inputs:
            return ""
        return (
            f"expected {' or '.join(inputs)} with --precision={precision}. "
            f"Received {kind!r}, which {self.title} in {precision} does not take: "
            "choose another."
        )

    def more_bits(self, precision: str) -> tuple[str, ...]:
        """Returns the precisions before this one, which keep more bits."""
        names = tuple(self.precisions)
        return names[: names.index(precision)]
