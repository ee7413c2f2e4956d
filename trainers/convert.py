"""Converts residual nets to continuous ones, continuous nets to plain Keras models.

    python trainers/convert.py --model=resnet.keras --output=continuous.keras
    python trainers/convert.py --model=runs/latest --basis=hat --nodes=3 --recalibrate=9
    python trainers/convert.py --model=pretrained:cifar10_any_depth --to=plain

To continuous (the default): each stage of equal residual units becomes a block with as
many pieces, stepped by Euler, with the same logits; --basis and --nodes then project
the weights. To train further, give the file to `train.py --model`. To plain: every step
gets layers of its own, and the file loads without this package. Logits are compared
before the file is written; for a run, accuracies are printed too.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
"""

import dataclasses
import os
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

import numpy as np

from cnet_tf import keras_file
from cnet_tf.basis import BASES
from cnet_tf.bounds import MOST_NODES, MOST_STEPS
from cnet_tf.escaping import line
from cnet_tf.from_residual import from_residual
from cnet_tf.line_error import LineError
from cnet_tf.manifestation import recalibrated
from cnet_tf.plain_model import to_plain
from cnet_tf.refinement import project
from cnet_tf.residual_search import residual_stages
from cnet_tf.surgery import blocks_of
from trainers import data as image_data
from trainers import disk, trained_net
from trainers.data import batches
from trainers.data.errors import tell
from trainers.data_option import data_dir
from trainers.errors import naming
from trainers.option_kinds import (
    integer,
    list_of,
    of_blocks,
    one_of,
    text,
    trained_model,
)
from trainers.option_table import OptionTable, excluded, option, run
from trainers.steps import accuracy_of, evaluate

# Bound on the effect of rounding. Compared before projection, which changes more.
_CLOSE = 1e-4
_EXAMPLES = 8
# Replaces a size that a model leaves free.
_SIDE = 32


class ConversionError(LineError):
    """The converted model computes something else; the message is one line."""


def _alone(name):
    remedy = "project first, then make that file plain"
    return excluded(name, lambda options: options.to == "plain", "--to=plain", remedy)


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a conversion."""

    COMBINATIONS = (
        *map(_alone, ("basis", "nodes", "steps", "recalibrate")),
        (
            "model",
            lambda options: not options.model,
            lambda options: f"expected {trained_model().expected}. Give one.",
        ),
        (
            "recalibrate",
            lambda options: options.recalibrate and not os.path.isdir(options.model),
            lambda options: (
                "expected 0 with a file, whose training images are unknown. "
                f"Received {options.recalibrate}: name the folder of a run, or train "
                "it further with train.py --model."
            ),
        ),
        (
            "output",
            lambda options: not options.output.endswith(".keras"),
            lambda options: (
                f"expected a path that ends in .keras. Received {options.output!r}."
            ),
        ),
    )

    model: str | None = option(None, trained_model(), "What to convert", "none")
    to: str = option(
        "continuous", one_of(("continuous", "plain")), "What to convert it to"
    )
    output: str = option("converted.keras", text(), "The file to write")
    basis: str | None = option(
        None,
        one_of(BASES),
        "Basis to project the weights of the blocks onto (L2)",
        "constant, which keeps the logits",
    )
    nodes: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_NODES)),
        "K', functions of the basis to project onto: one number, or one per block",
        "as many as there are units",
    )
    steps: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_STEPS)),
        "N, Euler steps: one number, or one per block",
        "as many as there are units",
    )
    recalibrate: int = option(
        0,
        integer(0),
        "Batches of 128 training images of a run on which to re-estimate batch norms",
    )
    data_dir: str | None = data_dir()


def main(options):
    """Converts, compares, writes, and prints what was done."""
    net, data, said = _read(options)
    output = pathlib.Path(options.output)
    with disk.Workspace(output.parent) as workspace:
        convert = _continuous if options.to == "continuous" else to_plain
        with naming("--model"):
            new = convert(net)
        _check_logits(net, new)
        score = _scorer(data)
        score("as given", net)
        if options.basis or options.nodes or options.steps:
            new = _projected(new, options)
            score("projected", new)
        if options.recalibrate:
            images = batches.recalibration_batches_of(data, said, options.recalibrate)
            new = recalibrated(new, images)
            score("recalibrated", new)
        with disk.writing("output"):
            new.save(workspace.folder / output.name)
            os.replace(workspace.folder / output.name, output)
    for block in blocks_of(new):
        print(
            f"{block.name}: {block.basis.kind}, K = {block.nodes}, {block.scheme}, "
            f"N = {block.steps}"
        )
    print(f"Written to {line(output)}")


def _read(options):
    """Returns (net, its data or None, its description of the data)."""
    if not os.path.isdir(options.model):
        with naming("--model"):
            return keras_file.read(options.model), None, {}
    trained = trained_net.read(options.model, "model")
    net, said = trained.net, trained.data
    parts = ("train", "test") if options.recalibrate else ("test",)
    try:
        return net, image_data.load_as_trained(said, options.data_dir, parts), said
    except image_data.MissingData as error:
        if options.data_dir or options.recalibrate:
            raise
        tell(f"accuracies are left out. {error}")
        return net, None, said


def _continuous(net):
    """Returns the continuous net; prints its stages, and why other sums are not any."""
    survey = residual_stages(net)
    for i, stage in enumerate(survey.stages):
        print(f"block_{i}: {line(stage)}")
    for name, why in survey.left.items():
        print(f"left as it is: {line(name)}: {line(why)}")
    if blocks_of(net) and not survey.stages:
        raise ValueError(
            "expected a residual net. Received one that already has continuous blocks: "
            "give --to=plain for one of plain layers."
        )
    return from_residual(net)


def _projected(net, options):
    steps = of_blocks(options.steps) or [block.steps for block in blocks_of(net)]
    with naming("--basis, --nodes, --steps"):
        return project(net, options.basis, of_blocks(options.nodes), steps)


def _check_logits(net, new):
    rng = np.random.default_rng(0)
    x = [
        rng.normal(size=[_EXAMPLES, *(n or _SIDE for n in x.shape[1:])])
        if "float" in x.dtype
        else rng.integers(0, 2, [_EXAMPLES, *(n or _SIDE for n in x.shape[1:])])
        for x in net.inputs
    ]
    x = x[0] if len(x) == 1 else x
    old, now = (np.asarray(model(x, training=False), "float64") for model in (net, new))
    delta = np.abs(now - old).max()
    print(f"logits differ by at most {delta:.1e}, of {np.abs(old).max():.1e}")
    if not delta <= _CLOSE * max(1, np.abs(old).max()):  # `<=` is False for NaN.
        raise ConversionError(
            f"expected the same logits. Received some that differ by {delta:.1e}: "
            "please report it."
        )


def _scorer(data):
    """Returns a function that prints a net's accuracy, if there are data."""
    if data is None:
        return lambda name, net: None
    examples = batches.eval_batches(data, "test", 500)

    def score(name, net):
        accuracy = accuracy_of(evaluate(net, examples))
        print(f"{name}: {100 * accuracy:.2f} % of test", flush=True)

    return score


if __name__ == "__main__":
    run(main, Options, failures=[ConversionError])
