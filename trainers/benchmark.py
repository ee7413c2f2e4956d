"""Training speed of several nets side by side, on the same random batch.

    python trainers/benchmark.py --presets=resnet20,cifar10_2-2-2_rk4 --rounds=20

Nets take turns, round by round, so that a slow minute of the machine slows them all.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
"""

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
from absl import flags

from cnet_tf import series_norm
from cnet_tf.presets import PRESETS, continuous_net
from trainers import fused_norm, steps
from trainers.errors import OptionError, run_command

PRESETS_FLAG = flags.DEFINE_list(
    "presets",
    ["resnet20", "cifar10_2-2-2_euler", "cifar10_2-2-2_rk4"],
    "Nets to time, of: " + ", ".join(PRESETS) + ".",
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images of a step. Default: 128.")
ROUNDS = flags.DEFINE_integer("rounds", 10, "Timed steps of each net. Default: 10.")
KERNELS = flags.DEFINE_list(
    "variants",
    ["fused"],
    "Ways to run a step, any of: fused (TensorFlow's batch norm kernel), plain "
    "(moments as operations), xla (plain, the whole step compiled). Default: fused.",
)

# variant -> (training kernel of the batch norms, XLA).
VARIANTS = {
    "fused": (fused_norm.fused_batch_moments_norm, False),
    "plain": (series_norm.batch_moments_norm, False),
    "xla": (series_norm.batch_moments_norm, True),
}


def training_program(preset, variant, images, labels):
    """A function without arguments that trains the net one step on that batch."""
    net = continuous_net(preset)
    net.build(images.shape)
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(net.trainable_variables)
    kernel, xla = VARIANTS[variant]

    run = steps.training_program(
        net,
        optimizer,
        tf.distribute.get_strategy(),
        xla,
        batch_size=len(images),
        weight_decay=5e-4,
        smoothing=0.0,
    )
    # The kernel is read when the graph is traced: now.
    series_norm.training_kernel = kernel
    run(images, labels)
    return lambda: run(images, labels)


def main():
    """Times the nets and prints a Markdown table."""
    for name in PRESETS_FLAG.value:
        if name not in PRESETS:
            raise OptionError(f"--presets: expected presets. Received {name!r}.")
    for name in KERNELS.value:
        if name not in VARIANTS:
            raise OptionError(
                f"--variants: expected any of {', '.join(VARIANTS)}. Received {name!r}."
            )
    rng = np.random.default_rng(0)
    batch = BATCH_SIZE.value
    images = tf.constant(rng.normal(size=(batch, 32, 32, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, batch), tf.int64)
    programs = {
        (preset, variant): training_program(preset, variant, images, labels)
        for preset in PRESETS_FLAG.value
        for variant in KERNELS.value
    }
    seconds = {key: [] for key in programs}
    for _ in range(ROUNDS.value):
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
    run_command(main)
