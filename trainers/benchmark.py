"""Training speed of several nets side by side, on the same random batch.

    python trainers/benchmark.py --presets=resnet20,cifar10_2-2-2_rk4 --rounds=20

Nets take turns, round by round, so that a slow minute of the machine slows them all.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
"""

import dataclasses
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

from cnet_tf.presets import PRESETS, continuous_net
from trainers import steps
from trainers.option_kinds import integer, list_of, one_of
from trainers.option_table import OptionTable, option, run

# variant -> whether XLA compiles the step.
VARIANTS = {"graph": False, "xla": True}


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a benchmark."""

    presets: tuple[str, ...] = option(
        ("resnet20", "cifar10_2-2-2_euler", "cifar10_2-2-2_rk4"),
        list_of(one_of(PRESETS), empty=False),
        "Nets to time",
    )
    batch_size: int = option(128, integer(1), "Images of a step")
    rounds: int = option(10, integer(1), "Timed steps of each net")
    variants: tuple[str, ...] = option(
        ("graph",),
        list_of(one_of(VARIANTS), empty=False),
        "Ways to run a step: graph (TensorFlow's kernels), xla (all of it compiled)",
    )


def training_program(preset, variant, images, labels):
    """A function without arguments that trains the net one step on that batch."""
    net = continuous_net(preset, input_shape=images.shape[1:])
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(net.trainable_variables)
    step = steps.training_program(
        net,
        optimizer,
        tf.distribute.get_strategy(),
        VARIANTS[variant],
        batch_size=len(images),
        weight_decay=5e-4,
        smoothing=0.0,
    )
    step(images, labels)  # Traces the graph.
    return lambda: step(images, labels)


def main(options):
    """Times the nets and prints a Markdown table."""
    rng = np.random.default_rng(0)
    batch = options.batch_size
    images = tf.constant(rng.normal(size=(batch, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, batch), tf.int64)
    programs = {
        (preset, variant): training_program(preset, variant, images, labels)
        for preset in options.presets
        for variant in options.variants
    }
    seconds = {key: [] for key in programs}
    for _ in range(options.rounds):
        for key, program in programs.items():
            start = time.perf_counter()
            program()
            seconds[key].append(time.perf_counter() - start)
    first = statistics.median(next(iter(seconds.values())))
    print("| net | step | images/s | spread | time / first |")
    print("|---|---|---|---|---|")
    for (preset, variant), times in seconds.items():
        middle = statistics.median(times)
        low, high = batch / max(times), batch / min(times)
        print(
            f"| {preset} | {variant} | {batch / middle:.0f} | {low:.0f}-{high:.0f} "
            f"| {middle / first:.2f} |"
        )


if __name__ == "__main__":
    run(main, Options)
