"""What every format says of itself."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from export.parity import Gate
from export.serving import INPUTS
from export.source import Source


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a format stores weights and activations.

    Attributes:
        gate: What an export must keep to.
        calibrated: Whether it learns the ranges of activations from training images.
        inputs: Keys of `serving.INPUTS` that it takes. Default: all.
    """

    gate: Gate
    calibrated: bool = False
    inputs: tuple[str, ...] = tuple(INPUTS)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to build of a net.

    Attributes:
        kind: A key of `serving.INPUTS`.
        precision: A key of `Format.precisions`.
        samples: uint8 (B, H, W, C): training images to calibrate on, or images that a
            server warms up with.
        model: Name of the model in TF Serving. Default `"cnet"`.
    """

    kind: str
    precision: str
    samples: np.ndarray
    model: str = "cnet"


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of exports. Adding one is adding a record.

    Attributes:
        name: In `table.FORMATS`, in reports, and the suffix of its files.
        title: For people.
        precisions: By name.
        folds: Whether a single manifestation is folded unless the user decides.
        build: `(source, recipe, description, folder)` to the path of the artefact, a
            file or folder in `folder`. It carries the description as far as the format
            has a place for it.
        reload: `(path, threads)` to its signatures, as functions of an array; a
            function that `measure` can import, see `runtimes`.
        image_dtype: `(path, kind)` to NumPy's name of the type that `image` has.
        usage: By language, how to call it: a `string.Template` of `$file`, `$model`,
            `$signature`, `$dtype`, `$shape` and `$zeros`.
    """

    name: str
    title: str
    precisions: dict[str, Precision]
    folds: bool
    build: Callable[[Source, Recipe, dict, pathlib.Path], pathlib.Path]
    reload: Callable[..., dict[str, Callable]]
    image_dtype: Callable[[pathlib.Path, str], str]
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


def declared_dtype(path, kind: str) -> str:
    """The `image_dtype` of formats that keep the type of the traced graph."""
    return INPUTS[kind].dtype.name
