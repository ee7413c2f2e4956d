"""Exports a trained net as a .tflite file for LiteRT.

    python export/tflite.py --steps=2
    python export/tflite.py --precision=int8 --input=uint8
    python export/tflite.py --scheme=rk4 --manifestations=euler:2,midpoint:2
    python export/tflite.py --input=uint8 --outputs=probabilities # for MediaPipe Tasks

writes <output>/<scheme>-<steps>[-<precision>].tflite, replacing any earlier one, and
its model card beside it. Signatures `serving_default`, `euler_2` ..: image -> logits,
probabilities, label; they share one set of weights. The file uses built-in operations
only, takes any batch unless `--batch` fixes it, and carries its metadata, including
LiteRT's standard metadata, and a zip archive of its labels.

The export is reloaded with LiteRT. In float32 it must agree with Keras within 1e-4 in
all logits and within 0.02 points of accuracy; with fewer bits it may lose half a point.
Exit codes: 0 written, 1 no agreement, 2 bad input, 3 the net's logits are not finite;
unless 0, nothing is left behind.
"""

import dataclasses
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's log messages; it reads this on import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

from export import options
from export.formats.tflite import FORMAT
from export.parity import ParityError
from export.single_file import to_file
from trainers.option_kinds import integer, one_of, switch
from trainers.option_table import option, run


@dataclasses.dataclass(frozen=True)
class Options(options.Export):
    """Options of a .tflite file."""

    COMBINATIONS = (*options.Export.COMBINATIONS, options.takes_input(FORMAT))

    manifestations: tuple = options.manifestations()
    batch: int | None = options.batch()
    precision: str = option(
        "float32",
        one_of(FORMAT.precisions),
        "Precision: float16 and dynamic (int8) apply to the weights; int8 applies to "
        "everything, outputs and a normalised input too",
    )
    float_outputs: bool = option(
        False,
        switch(),
        "Return floats in int8 too; with --input=float, for runtimes that read only "
        "floats",
    )
    calibration_images: int | None = options.calibration_images()
    threads: int = option(
        1,
        integer(1),
        "Threads of LiteRT while one image is timed; neither outputs nor file depend "
        "on them",
    )


def main(options) -> pathlib.Path:
    """Exports as the options say. Returns the path of the file."""
    return to_file(options, FORMAT)


if __name__ == "__main__":
    run(main, Options, failures=[ParityError])
