"""Exports a trained net as an ONNX graph, opset 18.

    python export/onnx_graph.py --steps=2
    python export/onnx_graph.py --scheme=midpoint --precision=int8

writes <output>/<scheme>-<steps>[-int8].onnx, replacing any earlier one, and its model
card beside it. The graph takes `image` (batch, height, width, channels), any batch
unless `--batch` fixes it. It returns `logits`, `probabilities` and `label`, or
those that `--outputs` names. Labels and metadata are in the file's metadata_props.

The export is checked by onnx and run by ONNX Runtime. In float32 it must agree with
Keras within 1e-4 in all logits and within 0.02 points of accuracy; in int8 it may lose
half a point. Exit codes: 0 written, 1 no agreement, 2 bad input, 3 the net's logits are
not finite; unless 0, nothing is left behind.
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
from export.formats.onnx_graph import FORMAT
from export.parity import ParityError
from export.single_file import to_file
from trainers.option_kinds import integer, one_of
from trainers.option_table import option, run


@dataclasses.dataclass(frozen=True)
class Options(options.Export):
    """Options of an ONNX graph."""

    COMBINATIONS = (*options.Export.COMBINATIONS, options.takes_input(FORMAT))

    batch: int | None = options.batch()
    precision: str = option(
        "float32",
        one_of(FORMAT.precisions),
        "Precision: int8 quantises the convolutions, weights per channel, as QDQ nodes",
    )
    calibration_images: int | None = options.calibration_images()
    threads: int = option(
        1,
        integer(1),
        "Threads of ONNX Runtime while one image is timed; neither outputs nor file "
        "depend on them",
    )


def main(options) -> pathlib.Path:
    """Exports as the options say. Returns the path of the file."""
    return to_file(options, FORMAT)


if __name__ == "__main__":
    run(main, Options, failures=[ParityError])
