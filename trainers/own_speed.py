"""Times training steps of this package's nets, in turns, in this process."""

import dataclasses
import itertools
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from cnet_tf.manifestation import manifest
from cnet_tf.presets import continuous_net
from trainers import results, steps
from trainers.errors import OptionError


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to run a step: whether XLA compiles it and whether blocks are unrolled."""

    xla: bool = False
    unroll: bool = True


VARIANTS = {
    "graph": Variant(),
    "xla": Variant(xla=True),
    "loop": Variant(unroll=False),
}


def training_program(net, xla, images, labels):
    """Returns a function without arguments that trains one step on this batch."""
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
    return lambda: step(images, labels)


def _started(name, nodes, variant, options, images, labels):
    """Returns (program, seconds to build a net and make the first step)."""
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
    program()  # Traces the graph.
    return program, time.perf_counter() - start


def print_table(presets, rounds, options):
    """Times nets and prints a Markdown table.

    Args:
        presets: Names of the nets.
        rounds: Timed steps of each.
        options: Options of `benchmark`: nodes, variants, precision, batch_size.
    """
    rng = np.random.default_rng(0)
    batch = options.batch_size
    images = tf.constant(rng.normal(size=(batch, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, batch), tf.int64)
    keys = itertools.product(presets, options.nodes or [None], options.variants)
    programs, starts = {}, {}
    for name, nodes, variant in keys:
        key = name if nodes is None else f"{name}, K = {nodes}", variant
        programs[key], starts[key] = _started(
            name, nodes, VARIANTS[variant], options, images, labels
        )
    seconds = {key: [] for key in programs}
    for _ in range(rounds):
        for key, program in programs.items():
            start = time.perf_counter()
            program()
            seconds[key].append(time.perf_counter() - start)
    first = statistics.median(next(iter(seconds.values())))
    rows = [
        {
            "net": name,
            "step": variant,
            "images/s": f"{batch / statistics.median(times):.0f}",
            "spread": f"{batch / max(times):.0f}-{batch / min(times):.0f}",
            "time / first": f"{statistics.median(times) / first:.2f}",
            "start, s": f"{starts[name, variant]:.1f}",
        }
        for (name, variant), times in seconds.items()
    ]
    print(results.table(rows))
