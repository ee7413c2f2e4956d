"""Options shared by all exports. A script adds its own in a subclass.

    @dataclasses.dataclass(frozen=True)
    class Options(Export):
        threads: int = option(1, integer(1), "Threads of the runtime")

A script's `--help` prints its whole table.
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
    """Options common to exports and reports: net, data, images, output folder."""

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
                "expected 0 with --model, whose training images are unknown. "
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
        "Input of the exported graph: "
        + "; ".join(f"{name}: {kind.text}" for name, kind in INPUTS.items()),
    )
    data_dir: str | None = data_dir()
    images: str | None = option(
        None,
        text(),
        "Folder of images to use instead of the data set, both to compare the export "
        "with Keras and to learn int8 ranges",
        "none: the data set of the run, or generated images if there is none",
    )
    parity_images: int = option(
        1000,
        integer(1),
        "Test images on which logits of the export are compared with Keras; all of "
        "them if there are fewer",
    )
    accuracy_images: int | None = option(
        None,
        integer(1),
        "Test images on which the accuracy of the export is compared with Keras; all "
        "of them if there are fewer",
        "5000 in float32, where logits are compared too; else 10000",
    )
    basis_size: int | None = option(
        None,
        integer(1, most=MOST_NODES),
        "Project the weights onto a smaller basis of K' functions first (L2)",
        "as trained",
    )
    restriction: str | None = option(
        None,
        one_of(RESTRICTIONS),
        "How theta is read with fewer steps than cells, see trainers/evaluate.py",
        "as trained",
    )
    recalibrate: int = option(
        0,
        integer(0),
        "Re-estimate the batch norms on this many batches of 128 training images "
        "first; 0 keeps them as trained",
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
        manifestations, precision, threads, batch, float_outputs, model_name: Fixed
            here; the table of a format that leaves the choice makes them options.
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
        "Steps N: one number, or one per block; graph and latency grow with N",
        "as trained",
    )
    scheme: str | None = option(
        None, one_of(SCHEMES), "Scheme of every block", "as trained"
    )
    fold: bool | None = option(
        None,
        switch(),
        "Fold batch norms, step and horizon into the kernels",
        "no in a SavedModel or if several manifestations share their weights; else yes",
    )
    outputs: tuple[str, ...] = option(
        tuple(OUTPUTS),
        list_of(one_of(OUTPUTS), unique=True),
        "Outputs of the exported graph, in this order",
    )
    license: str = option(
        "unspecified", text(), "Licence of the weights, for the model card"
    )

    def beside(self, net) -> tuple:
        """Returns the manifestations to export alongside the net's own."""
        return self.manifestations


def manifestations():
    """Option for formats that hold several signatures in one artefact."""
    return option(
        (), MANIFESTATIONS, "Further signatures, which share the weights of the first"
    )


def calibration_images():
    """Option for formats with integer precisions."""
    return option(
        None,
        integer(SMALLEST),
        "Training images to learn int8 ranges from",
        f"{USUAL}; all of them if there are fewer",
    )


def batch():
    """Option for formats whose graphs may have a fixed batch size."""
    return option(
        None,
        integer(1),
        "Fixed batch size of the graph, for runtimes that need one; it is compared "
        "and timed with that many images",
        "any number",
    )


def takes_input(form) -> tuple:
    """Returns the rule that refuses an `--input` the `--precision` does not take."""

    def why(options):
        return form.refusal(options.precision, options.input)

    return ("input", why, why)
