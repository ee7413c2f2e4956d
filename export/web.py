"""Exports a trained net as a page that runs it in a browser.

    python export/web.py
    python export/web.py --manifestations=euler:1,euler:4,rk4:2

writes <output>/web/, a self-contained folder for any static server: drop an image or
pick a sample, move the slider over the manifestations from the cheapest to the most
expensive, and see the answer, its time, and its place between accuracy and cost. An
earlier page there is replaced.

    python -m http.server --directory exports/<run>/web

ONNX Runtime Web comes from its npm package, downloaded by npm the first time.
Each manifestation is a separate graph; all share one file of weights. The page's graphs
are reloaded with ONNX Runtime and must agree with Keras within 1e-4 in all logits and
within 0.02 points of accuracy. Exit codes: 0 written, 1 no agreement, 2 bad input, 3
the net's logits are not finite; unless 0, nothing is left behind.
"""

import dataclasses
import os
import pathlib
import sys
from typing import ClassVar

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Silences TensorFlow's log messages; it reads this on import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

from cnet_tf.escaping import line
from export import gated_export, options, staging, web_page, web_runtime
from export.formats.web import FORMAT
from export.job import Job
from export.parity import ParityError
from export.serving import OUTPUTS
from trainers.option_kinds import integer, switch, text
from trainers.option_table import option, run

# Rules for exports whose manifestations share one set of variables. Those of a page
# are separate graphs, so they may be folded.
_SHARED = ("fold", "recalibrate")
# Name of the folder.
_NAME = "web"


@dataclasses.dataclass(frozen=True)
class Options(options.Export):
    """Options of a page, which takes pixels from a browser."""

    COMBINATIONS = tuple(
        rule for rule in options.Export.COMBINATIONS if rule[0] not in _SHARED
    )
    input: ClassVar[str] = "uint8"
    outputs: ClassVar[tuple[str, ...]] = tuple(OUTPUTS)
    recalibrate: ClassVar[int] = 0

    fold: bool | None = option(
        True, switch(), "Fold batch norms, step and horizon into the kernels"
    )
    manifestations: tuple | None = option(
        None,
        options.MANIFESTATIONS,
        "Manifestations shown besides the first",
        "euler, midpoint and rk4 with a quarter, half and all of the steps of the net",
    )
    samples: int = option(10, integer(1), "Test images to pick from, one per class")
    onnxruntime_web: str | None = option(
        None,
        text(),
        f"Folder or .tgz of the npm package {web_runtime.PACKAGE}",
        f"version {web_runtime.VERSION} from the cache, which npm fills the first time",
    )

    def beside(self, net) -> tuple:
        """Returns the manifestations to show besides the net's own."""
        return web_page.manifestations(net, self.manifestations)


def main(options) -> pathlib.Path:
    """Exports as the options say. Returns the folder of the page."""
    workspace = staging.Workspace(options.folder)
    staging.refuse_foreign(workspace.parent / _NAME, web_page.MARKS)
    runtime = web_runtime.find(options.onnxruntime_web)
    with workspace:
        job = Job.read(options, FORMAT)
        web_page.check(job)
        path, card = gated_export.write(job, workspace.folder, _NAME)
        web_page.finish(path, job, card, runtime, options.samples)
        target = workspace.publish_folder(path, _NAME, web_page.MARKS)
    shown = line(target)
    print(f"Wrote {shown}\nServe it: python -m http.server --directory {shown}")
    return target


if __name__ == "__main__":
    run(main, Options, failures=[ParityError])
