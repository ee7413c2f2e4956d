"""Measures peak memory and time of training steps, kept or recomputed.

    python trainers/memory.py --preset=cifar10_2-2-2_rk4 --nodes=16 --batch_size=32

Trains every variant for some steps on one random batch, in its own process. Its memory
is the peak of that process above the peak at the time the net was built.
"""

import dataclasses
import multiprocessing
import pathlib
import statistics
import sys
import time

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

import keras
import numpy as np
import tensorflow as tf

from cnet_tf.bounds import MOST_NODES
from cnet_tf.manifestation import manifest
from cnet_tf.presets import PRESETS, continuous_net, has_blocks
from trainers import steps
from trainers.errors import OptionError
from trainers.option_kinds import integer, list_of, one_of
from trainers.option_table import OptionTable, option, run
from trainers.peers.programs import turns

# Arguments of `manifest`.
VARIANTS = {
    "graph": {},
    "graph_recompute": {"recompute": True},
    "loop": {"unroll": False},
    "loop_recompute": {"unroll": False, "recompute": True},
}


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a measurement."""

    COMBINATIONS = (
        (
            "preset",
            lambda options: not has_blocks(options.preset),
            lambda options: (
                f"expected a net with blocks. Received {options.preset!r}, whose depth "
                "is fixed: choose another."
            ),
        ),
    )

    preset: str = option("cifar10_2-2-2_rk4", one_of(PRESETS), "Net to measure")
    nodes: tuple[int, ...] = option(
        (4, 16),
        list_of(integer(1, most=MOST_NODES), empty=False),
        "Values of K, and of N with it, measured one after the other",
    )
    batch_size: int = option(32, integer(1), "Images per step")
    rounds: int = option(3, integer(1), "Timed steps after the first one")
    variants: tuple[str, ...] = option(
        tuple(VARIANTS),
        list_of(one_of(VARIANTS), empty=False),
        "Ways to train: the steps of a block in the graph or in one loop, all kept or "
        "recomputed in the backward pass",
    )


def main(options):
    """Measures all variants and prints a Markdown table."""
    print("| K | steps | MB | s / step | first step, s |")
    print("|---|---|---|---|---|")
    for nodes in options.nodes:
        for name in options.variants:
            megabytes, seconds, start = _in_a_process(options, nodes, name)
            print(
                f"| {nodes} | {name} | {megabytes:.0f} | {seconds:.2f} | {start:.1f} |",
                flush=True,
            )


def _in_a_process(options, nodes, name):
    # A new interpreter: a forked one would inherit the memory of this one.
    context = multiprocessing.get_context("spawn")
    end, other = context.Pipe()
    process = context.Process(target=_send, args=(other, options, nodes, name))
    process.start()
    other.close()
    try:
        return end.recv()
    except EOFError:
        raise OptionError(
            f"--nodes, --batch_size: expected a net that fits in memory. Received K = "
            f"{nodes} and {options.batch_size} images, with which the process of "
            f"{name} ended: ask for less."
        ) from None
    finally:
        process.join()


def _send(end, options, nodes, name):
    end.send(measured(options, nodes, name))


def measured(options, nodes, name):
    """Measures here (peak MB above the start, s per step, s of the first step)."""
    net = continuous_net(options.preset, nodes=nodes)
    net = manifest(net, **VARIANTS[name])
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(net.trainable_variables)
    rng, batch = np.random.default_rng(0), options.batch_size
    images = tf.constant(rng.normal(size=(batch, *net.input_shape[1:])), tf.float32)
    labels = tf.constant(rng.integers(0, net.output_shape[-1], batch), tf.int64)
    program = steps.training_program(
        net,
        optimizer,
        tf.distribute.get_strategy(),
        batch_size=batch,
        weight_decay=5e-4,
        smoothing=0.0,
    )
    before, times = turns.peak_memory(), []
    for _ in range(1 + options.rounds):
        start = time.perf_counter()
        program(images, labels)
        times.append(time.perf_counter() - start)
    return (
        (turns.peak_memory() - before) / 2**20,
        statistics.median(times[1:]),
        times[0],
    )


if __name__ == "__main__":
    run(main, Options)
