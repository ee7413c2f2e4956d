"""Compares inference time per multiply-add with plain ResNets in the same runtime.

    python export/benchmark.py
    python export/benchmark.py --presets=cifar10_8-8-8_rk4 --formats=tflite --batches=1

exports ContinuousNets as the export scripts do by default, and He's ResNets of plain
Keras layers with as many residual units, hence almost as many multiply-adds, through
the same converters. Kernels keep their initial values; norms and biases get random
values, because converters drop those that do nothing. Every measurement runs in its own
process, ours and theirs alternating. Writes inference.md and inference.csv to
`--output`.
"""

import dataclasses
import os
import pathlib
import statistics
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

import numpy as np

from cnet_tf.presets import continuous_net
from export import graph_cost, staging
from export.description import describe
from export.formats.record import Recipe
from export.formats.table import FORMATS
from export.measure import MeasureError, measure
from export.runtimes import SIGNATURE
from export.source import Source
from trainers import results
from trainers.option_kinds import integer, list_of, one_of, text
from trainers.option_table import OptionTable, option, run
from trainers.peers.programs import keras_nets
from trainers.peers.table import NETS

SHAPE = (32, 32, 3)
DATA = {
    "name": "cifar10",
    "image_shape": list(SHAPE),
    "class_names": [str(i) for i in range(keras_nets.CLASSES)],
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
}


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """Options of the inference benchmark."""

    presets: tuple[str, ...] = option(
        ("cifar10_2-2-2_euler", "cifar10_2-2-2_rk4"),
        list_of(one_of(NETS), empty=False),
        "Nets to time",
    )
    formats: tuple[str, ...] = option(
        tuple(FORMATS), list_of(one_of(FORMATS), empty=False), "Formats, in float32"
    )
    batches: tuple[int, ...] = option(
        (1, 128), list_of(integer(1), empty=False), "Batch sizes"
    )
    threads: int = option(
        os.cpu_count() or 1, integer(1), "Threads of the runtimes", "number of cores"
    )
    rounds: int = option(3, integer(1), "Rounds, each measuring ours and theirs")
    runs: int = option(20, integer(1), "Timed runs of each net per round")
    output: str = option("benchmarks", text(), "Folder for the tables")


# By variable name, the range of the values that replace its zeros or ones.
_RANGES = {
    "gamma": (0.5, 1.5),
    "moving_variance": (0.5, 1.5),
    **dict.fromkeys(("beta", "moving_mean", "bias"), (-0.5, 0.5)),
}


def _source(net) -> Source:
    """Makes a net, with random norms and biases, the source of an export."""
    rng = np.random.default_rng(0)
    for variable in net.variables:
        if variable.name in _RANGES:
            variable.assign(rng.uniform(*_RANGES[variable.name], variable.shape))
    nets = {SIGNATURE: net}
    return Source(nets, nets, {"data": DATA}, (), "", pathlib.Path(net.name))


def sources(preset: str) -> dict[str, Source]:
    """Returns our net and the plain one to compare it with."""
    net = NETS[preset]
    plain = keras_nets.resnet(net["nodes"], net["scheme"], keras_nets.he)
    return {"ours": _source(continuous_net(preset)), "theirs": _source(plain)}


def build(form, source: Source, ours: bool, folder) -> pathlib.Path:
    """Writes a float32 artefact; ours is folded if exports fold by default."""
    source = source.folded() if ours and form.folds else source
    images = np.zeros((1, *SHAPE), np.uint8)  # A server warms up with it.
    recipe = Recipe("normalized", "float32", images, outputs=("logits",))
    folder.mkdir()
    with staging.temporary_files(folder):
        return form.build(
            source, recipe, describe(source, "normalized", outputs=("logits",)), folder
        )


def row_of(preset, form, batch, seconds: dict, macs: dict) -> dict:
    """Returns a row of the table.

        ratio = median over rounds of (our seconds / MACs) / (their seconds / MACs)

    The row has the lowest and highest ratio too, as machines change speed midway.

    Args:
        seconds, macs: Dicts with keys "ours" and "theirs"; seconds are lists by round.
    """
    pairs = zip(seconds["ours"], seconds["theirs"], strict=True)
    more = macs["theirs"] / macs["ours"]
    ratios = [ours / theirs * more for ours, theirs in pairs]
    milliseconds = {
        f"{key}_ms": results.digits(1000 * statistics.median(times))
        for key, times in seconds.items()
    }
    return {
        "net": preset,
        "format": form,
        "batch": batch,
        **milliseconds,
        **{f"{key}_macs": count for key, count in macs.items()},
        "time_per_mac": results.digits(statistics.median(ratios)),
        "lowest": results.digits(min(ratios)),
        "highest": results.digits(max(ratios)),
    }


def rows_of(preset, options, folder) -> list[dict]:
    """Measures a net in all formats."""
    both, rows = sources(preset), []
    macs = {key: graph_cost.macs(one.net, SHAPE) for key, one in both.items()}
    for form in map(FORMATS.get, options.formats):
        paths = {
            key: build(form, one, key == "ours", folder / f"{preset}-{form.name}-{key}")
            for key, one in both.items()
        }
        for batch in options.batches:
            images = np.random.default_rng(0).normal(size=(batch, *SHAPE))
            images = images.astype("float32")
            seconds = {key: [] for key in paths}
            for _ in range(options.rounds):
                for key, path in paths.items():
                    cost = measure(
                        *(form.reload, path, SIGNATURE, images),
                        *(options.threads, options.runs),
                    )
                    seconds[key].append(cost.median)
            rows.append(row_of(preset, form.name, batch, seconds, macs))
            print(rows[-1], flush=True)
    return rows


def markdown(rows) -> str:
    """Formats the table for people."""
    return results.table(
        {
            "net": row["net"],
            "format": row["format"],
            "batch": str(row["batch"]),
            "ms": f"{row['ours_ms']:.3g}",
            "ResNet, ms": f"{row['theirs_ms']:.3g}",
            "M MACs": f"{row['ours_macs'] / 1e6:.1f}",
            "ResNet, M MACs": f"{row['theirs_macs'] / 1e6:.1f}",
            "time per MAC, ours / ResNet": f"{row['time_per_mac']:.2f} "
            f"({row['lowest']:.2f}-{row['highest']:.2f})",
        }
        for row in rows
    )


def main(options) -> list[dict]:
    """Measures, then writes and prints the table."""
    folder = pathlib.Path(options.output)
    with staging.Workspace(folder) as workspace:
        rows = [
            row
            for preset in options.presets
            for row in rows_of(preset, options, workspace.folder)
        ]
        table = f"{markdown(rows)}\n".encode()
        workspace.publish(
            {"inference.csv": results.csv_of(rows), "inference.md": table}
        )
    print(markdown(rows))
    return rows


if __name__ == "__main__":
    run(main, Options, failures=[MeasureError])
