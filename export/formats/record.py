"""What every format says of itself."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from export.parity import Gate
from export.serving import ARRAYS, OUTPUTS
from export.source import Source


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a format stores weights and activations.

    Attributes:
        gate: What an export must keep to.
        calibrated: Whether it learns the ranges of activations from training images.
        inputs: Keys of `serving.INPUTS` that it takes. Default: all but files.
    """

    gate: Gate
    calibrated: bool = False
    inputs: tuple[str, ...] = ARRAYS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to build of a net.

    Attributes:
        kind: A key of `serving.INPUTS`.
        precision: A key of `Format.precisions`.
        samples: uint8 (B, H, W, C): training images to calibrate on, or images that a
            server warms up with. Default: none were read yet.
        model: Name of the model in TF Serving. Default `"cnet"`.
        outputs: Keys of `serving.OUTPUTS`, in their order. Default: all.
        batch: Images at a time. Default: any number.
        float_outputs: Whether outputs are floats though all else is integers.
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
        dtype: NumPy's name of its type; `"object"` are strings.
        scale, zero_point: Of stored integers; scale 0 means that numbers are stored as
            they are.
    """

    name: str
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of exports. Adding one is adding a record.

    Attributes:
        name: In `table.FORMATS`, in reports, and the suffix of its files.
        title: For people.
        precisions: By name, those with more bits first.
        folds: Whether a single manifestation is folded unless the user decides.
        build: `(source, recipe, description, folder)` to the path of the artefact, a
            file or folder in `folder`. It carries the description as far as the format
            has a place for it.
        reload: `(path, threads)` to its signatures, as functions of an array; a
            function that `measure` can import, see `runtimes`.
        tensors: `(path)` to the `Tensor`s of `serving_default` by name: `image`, and
            the outputs.
        usage: By language, how to call it: a `string.Template` of what `snippets.names`
            gives.
    """

    name: str
    title: str
    precisions: dict[str, Precision]
    folds: bool
    build: Callable[[Source, Recipe, dict, pathlib.Path], pathlib.Path]
    reload: Callable[..., dict[str, Callable]]
    tensors: Callable[[pathlib.Path], dict[str, Tensor]]
    usage: dict[str, str]

    def refusal(self, precision: str, kind: str) -> str:
        """Why a precision does not take that kind of input; empty if it does."""
        inputs = self.precisions[precision].inputs
        if kind in inputs:
            return ""
        return (
            f"expected {' or '.join(inputs)} with --precision={precision}. "
            f"Received {kind!r}, which {self.title} in {precision} does not take: "
            "choose another."
        )

    def more_bits(self, precision: str) -> tuple[str, ...]:
        """The precisions before this one: those that keep more bits."""
        names = tuple(self.precisions)
        return names[: names.index(precision)]
