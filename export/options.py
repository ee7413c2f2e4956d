"""The options that exports share. A script adds its own in a table of its own.

    @dataclasses.dataclass(frozen=True)
    class Options(Export):
        threads: int = option(1, integer(1), "Threads of the runtime")

`--help` of a script prints its whole table.
"""

import dataclasses
import pathlib
from typing import ClassVar

from cnet_tf.bounds import MOST_NODES, MOST_STEPS
from cnet_tf.series import RESTRICTIONS
from cnet_tf.tableaus import SCHEMES
from export.calibration import SMALLEST, USUAL
from export.origin import Origin
from export.serving import INPUTS, OUTPUTS
from trainers.data_option import data_dir
from trainers.option_kinds import integer, list_of, one_of, pair, switch, text
from trainers.option_table import option

MANIFESTATIONS = list_of(
    pair(one_of(SCHEMES), integer(1, most=MOST_STEPS), "scheme:steps, like rk4:2"),
    unique=True,
)


@dataclasses.dataclass(frozen=True)
class Common(Origin):
    """What every script of export/ asks for: net, data, images, where results go."""

    COMBINATIONS = (
        *Origin.COMBINATIONS,
        (
            "recalibrate",
            lambda options: options.recalibrate and options.images,
            lambda options: (
                "expected 0 with --images, which replaces the training images. "
                f"Received {options.recalibrate}: leave one of the two out."
            ),
        ),
        (
            "recalibrate",
            lambda options: options.recalibrate and options.model,
            lambda options: (
                "expected 0 with --model, of whose training images nothing is known. "
                f"Received {options.recalibrate}: leave one of the two out."
            ),
        ),
    )

    output: str | None = option(
        None, text(), "Folder for the exports", "exports/<name of the run or the file>"
    )
    input: str = option(
        "normalized",
        one_of(INPUTS),
        "What the exported graph takes: "
        + "; ".join(f"{name}: {kind.text}" for name, kind in INPUTS.items()),
    )
    data_dir: str | None = data_dir()
    images: str | None = option(
        None,
        text(),
        "Folder of images to compare the export with Keras on, and to learn int8 "
        "ranges on, in place of the data set",
        "none: the data set of the run, or generated images where there is none",
    )
    parity_images: int = option(
        1000,
        integer(1),
        "Test images to compare the logits of the export with Keras on; all of them if "
        "there are fewer",
    )
    accuracy_images: int | None = option(
        None,
        integer(1),
        "Test images to compare the accuracy of the export with that of Keras on; all "
        "of them if there are fewer",
        "5000 in float32, where logits are compared as well; else 10000",
    )
    basis_size: int | None = option(
        None,
        integer(1, most=MOST_NODES),
        "K', functions of a smaller basis to project the weights onto first (L2)",
        "as trained",
    )
    restriction: str | None = option(
        None,
        one_of(RESTRICTIONS),
        "How fewer steps than cells read theta, see trainers/evaluate.py",
        "as trained",
    )
    recalibrate: int = option(
        0,
        integer(0),
        "Batches of 128 training images to re-estimate the batch norms on first; 0 "
        "leaves them as trained",
    )

    @property
    def folder(self) -> pathlib.Path:
        """The folder for the exports."""
        if self.output:
            return pathlib.Path(self.output)
        return pathlib.Path("exports", self.source.resolve().name)


_SHARED = "expected one manifestation. Received --manifestations too, "


@dataclasses.dataclass(frozen=True)
class Export(Common):
    """The options of one artefact.

    Attributes:
        manifestations, precision, threads, batch, float_outputs, model_name: As here
            where a format leaves no choice; the table of a format that does makes them
            options.
    """

    COMBINATIONS = (
        *Common.COMBINATIONS,
        (
            "fold",
            lambda options: options.fold and options.manifestations,
            lambda options: (
                f"{_SHARED}and folded weights cannot be shared: leave one of the two "
                "out."
            ),
        ),
        (
            "recalibrate",
            lambda options: options.recalibrate and options.manifestations,
            lambda options: (
                f"{_SHARED}which share their statistics: leave one of the two out."
            ),
        ),
        (
            "outputs",
            lambda options: not options.outputs,
            lambda options: (
                f"expected some of {', '.join(OUTPUTS)}. Received none: leave the flag "
                "out for all."
            ),
        ),
    )
    manifestations: ClassVar[tuple] = ()
    precision: ClassVar[str] = "float32"
    threads: ClassVar[int | None] = None
    batch: ClassVar[int | None] = None
    float_outputs: ClassVar[bool] = False
    model_name: ClassVar[str] = "cnet"

    steps: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_STEPS)),
        "N, steps: one number, or one a block; graph and latency grow with it",
        "as trained",
    )
    scheme: str | None = option(
        None, one_of(SCHEMES), "Scheme of every block", "as trained"
    )
    fold: bool | None = option(
        None,
        switch(),
        "Fold batch norms, step and horizon into the kernels",
        "not in a SavedModel, nor where several manifestations share their weights; "
        "else yes",
    )
    outputs: tuple[str, ...] = option(
        tuple(OUTPUTS),
        list_of(one_of(OUTPUTS), unique=True),
        "What the exported graph gives, in this order",
    )
    license: str = option(
        "unspecified", text(), "Licence of the weights, for the model card"
    )

    def beside(self, net) -> tuple:
        """The manifestations exported beside that of a net."""
        return self.manifestations


def manifestations():
    """The option of formats with several signatures in one artefact."""
    return option(
        (), MANIFESTATIONS, "Further signatures, which share the weights of the first"
    )


def calibration_images():
    """The option of formats with integer precisions."""
    return option(
        None,
        integer(SMALLEST),
        "Training images to learn int8 ranges on",
        f"{USUAL}; all of them if there are fewer",
    )


def batch():
    """The option of formats whose graphs may take one number of images only."""
    return option(
        None,
        integer(1),
        "Images that the graph takes at a time, for runtimes that want it fixed; it is "
        "compared and timed with that many",
        "any number",
    )


def takes_input(form) -> tuple:
    """Refuses an `--input` that `--precision` of a `Format` does not take."""

    def why(options):
        return form.refusal(options.precision, options.input)

    return ("input", why, why)
