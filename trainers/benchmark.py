"""Training speed of several nets side by side, on the same random batch.

    python trainers/benchmark.py --presets=resnet20,cifar10_2-2-2_rk4 --rounds=20
    python trainers/benchmark.py --presets=cifar10_2-2-2_rk4 --nodes=2,16 \\
        --variants=graph,loop

Start is the time to make a net, to trace its step and to run that once. Then nets take
turns, round by round, so that a slow minute of the machine slows them all.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
"""

import dataclasses
import itertools
import pathlib
import statistics
import sys
import time

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything imports TensorFlow.
    from trainers import onednn

    onednn.switch_on()

import keras
import numpy as np
import tensorflow as tf

from cnet_tf.bounds import MOST_NODES
from cnet_tf.manifestation import manifest
from cnet_tf.presets import PRESETS, continuous_net
from trainers import steps
from trainers.errors import OptionError
from trainers.option_kinds import integer, list_of, one_of
from trainers.option_table import OptionTable, option, run
from trainers.options import PRECISIONS


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to run a step: whether XLA compiles it, whether blocks unroll theirs."""

    xla: bool = False
    unroll: bool = True


VARIANTS = {
    "graph": Variant(),
    "xla": Variant(xla=True),
    "loop": Variant(unroll=False),
}


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a benchmark."""

    presets: tuple[str, ...] = option(
        ("resnet20", "cifar10_2-2-2_euler", "cifar10_2-2-2_rk4"),
        list_of(one_of(PRESETS), empty=False),
        "Nets to time",
    )
    nodes: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_NODES)),
        "K of the ContinuousNets, and N with it, one after the other",
        "each preset's",
    )
    precision: str = option("float32", one_of(PRECISIONS), "Arithmetic of the layers")
    batch_size: int = option(128, integer(1), "Images of a step")
    rounds: int = option(10, integer(1), "Timed steps of each net")
    variants: tuple[str, ...] = option(
        ("graph",),
        list_of(one_of(VARIANTS), empty=False),
        "Ways to run a step: graph (TensorFlow's kernels), xla (all of it compiled), "
        "loop (the steps of a block are a loop in the graph)",
    )


def training_program(net, xla, images, labels):
    """A function without arguments that trains the net one step on that batch."""
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(net.trainable_variables)
    step = steps.training_program(
        net,
        optimizer,
        tf.distribute.get_strategy(),
        xla,
        batch_size=len(images),
        weight_decay=5e-4,
        smoothing=0.0,
    )
    step(images, labels)  # Traces the graph.
    return lambda: step(images, labels)


def _started(name, nodes, variant, options, images, labels):
    """(program, seconds from nothing to the first step) of a net."""
    start = time.perf_counter()
    overrides = {"nodes": nodes} if nodes else {}
    try:
        net = continuous_net(
            name, input_shape=images.shape[1:], dtype=options.precision, **overrides
        )
        if not variant.unroll:
            net = manifest(net, unroll=False)
    except ValueError as error:
        raise OptionError(
            f"--presets: expected nets with blocks for --nodes and variant loop. "
            f"Received {name!r}: {error}"
        ) from error
    program = training_program(net, variant.xla, images, labels)
    return program, time.perf_counter() - start


def main(options):
    """Times the nets and prints a Markdown table."""
    rng = np.random.default_rng(0)
    batch = options.batch_size
    images = tf.constant(rng.normal(size=(batch, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, batch), tf.int64)
    keys = itertools.product(options.presets, options.nodes or [None], options.variants)
    programs, starts = {}, {}
    for name, nodes, variant in keys:
        key = name if nodes is None else f"{name}, K = {nodes}", variant
        programs[key], starts[key] = _started(
            name, nodes, VARIANTS[variant], options, images, labels
        )
    seconds = {key: [] for key in programs}
    for _ in range(options.rounds):
        for key, program in programs.items():
            start = time.perf_counter()
            program()
            seconds[key].append(time.perf_counter() - start)
    first = statistics.median(next(iter(seconds.values())))
    print("| net | step | images/s | spread | time / first | start, s |")
    print("|---|---|---|---|---|---|")
    for (name, variant), times in seconds.items():
        middle = statistics.median(times)
        low, high = batch / max(times), batch / min(times)
        print(
            f"| {name} | {variant} | {batch / middle:.0f} | {low:.0f}-{high:.0f} "
            f"| {middle / first:.2f} | {starts[name, variant]:.1f} |"
        )


if __name__ == "__main__":
    run(main, Options)
