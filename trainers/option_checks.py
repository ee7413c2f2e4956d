"""Which options make sense, alone and together."""

import math

from cnet_tf.basis import BASES
from cnet_tf.continuous_net import UNITS
from cnet_tf.presets import PRESETS
from cnet_tf.rate import PADDINGS
from cnet_tf.series import RESTRICTIONS
from cnet_tf.tableaus import SCHEMES
from trainers.augmentation import AUGMENTATIONS
from trainers.errors import OptionError
from trainers.growth import POLICIES
from trainers.options import PRECISIONS, Options
from trainers.schedule import OPTIMIZERS, SCHEDULES, WEIGHT_DECAYS
from trainers.strategy import STRATEGIES

JIT = ("auto", "on", "off")
MOMENTA = ("carry", "reset")


def _one_of(names):
    return lambda v: v in names, "one of " + ", ".join(map(str, names))


def _integer(low):
    return lambda v: v >= low, f"an integer >= {low}"


def _integers(low):
    return lambda v: all(x >= low for x in v), f"integers >= {low}"


_UNIT_INTERVAL = (lambda v: 0 <= v < 1, "a number in [0, 1)")
_POSITIVE = (lambda v: 0 < v < float("inf"), "a number > 0")
_NOT_NEGATIVE = (lambda v: 0 <= v < float("inf"), "a number >= 0")
_FACTOR = (lambda v: 0 < v <= 1, "a number in (0, 1]")

# flag -> (what holds of a value that is given, how to say so).
_CHECKS = {
    "image_size": _integer(1),
    "validation_fraction": _UNIT_INTERVAL,
    "augment": _one_of(AUGMENTATIONS),
    "preset": _one_of(PRESETS),
    "scheme": _one_of(SCHEMES),
    "basis": _one_of(BASES),
    "nodes": _integers(1),
    "steps": _integers(1),
    "unit": _one_of(UNITS),
    "horizon": _POSITIVE,
    "stitch": (math.isfinite, "a number"),
    "padding": _one_of(PADDINGS),
    "restriction": _one_of(RESTRICTIONS),
    "batch_size": _integer(1),
    "replica_batch_size": _integer(1),
    "epochs": _integer(1),
    "batches_per_epoch": _integer(1),
    "optimizer": _one_of(OPTIMIZERS),
    "learning_rate": _POSITIVE,
    "momentum": _UNIT_INTERVAL,
    "schedule": _one_of(SCHEDULES),
    "decay_epochs": _integers(1),
    "decay_factor": _FACTOR,
    "weight_decay": _NOT_NEGATIVE,
    "weight_decay_mode": _one_of(WEIGHT_DECAYS),
    "label_smoothing": _UNIT_INTERVAL,
    "ema": _UNIT_INTERVAL,
    "precision": _one_of(PRECISIONS),
    "jit_compile": _one_of(JIT),
    "refine": _one_of(POLICIES),
    "refine_epochs": _integers(1),
    "plateau_patience": _integer(1),
    "plateau_delta": _NOT_NEGATIVE,
    "refine_times": _integer(1),
    "refine_factor": _integers(2),
    "refine_momentum": _one_of(MOMENTA),
    "rewarm_epochs": _integer(0),
    "strategy": _one_of(STRATEGIES),
    "replicas": _integer(0),
    "seed": _integer(0),
    "save_batches": _integer(0),
    "keep": _integer(1),
    "rollbacks": _integer(0),
    "rollback_rate": _FACTOR,
    "max_minutes": _POSITIVE,
    "verbose": _one_of((0, 1, 2)),
}


def validate(options: Options):
    """Checks every flag alone and the combinations.

    Raises:
        OptionError: names the flag, what was expected and what was received.
    """
    for name, (holds, expected) in _CHECKS.items():
        value = getattr(options, name)
        if value is not None and not holds(value):
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise OptionError(f"--{name}: expected {expected}. Received {shown!r}.")
    for name in ("refine_epochs", "decay_epochs"):
        epochs = getattr(options, name)
        if list(epochs) != sorted(set(epochs)):
            raise OptionError(
                f"--{name}: expected increasing epochs. Received {list(epochs)}."
            )
        if epochs and epochs[-1] >= options.epochs:
            raise OptionError(
                f"--{name}: expected epochs below --epochs={options.epochs}. "
                f"Received {epochs[-1]}, which would never come."
            )
    grows = options.refine_epochs or options.refine == "on_plateau"
    for name, wrong, why in (
        (
            "refine_epochs",
            grows and PRESETS[options.preset]["class"] == "ResNet",
            f"preset {options.preset!r} is a ResNet, whose depth is fixed. Choose a "
            "ContinuousNet or do not refine.",
        ),
        (
            "refine_epochs",
            options.refine_epochs and options.refine == "on_plateau",
            "expected none with --refine=on_plateau. Received both: leave one out.",
        ),
        (
            "refine_factor",
            not options.refine_factor,
            "expected a factor. Received none.",
        ),
        (
            "rewarm_epochs",
            options.rewarm_epochs and options.schedule == "constant",
            "expected 0 with --schedule=constant, from which nothing can climb. "
            f"Received {options.rewarm_epochs}.",
        ),
        (
            "replicas",
            options.replicas and options.strategy != "mirrored",
            f"expected --strategy=mirrored with it. Received {options.strategy!r}.",
        ),
        (
            "tpu",
            options.tpu and options.strategy != "tpu",
            f"expected --strategy=tpu with it. Received {options.strategy!r}.",
        ),
    ):
        if wrong:
            raise OptionError(f"--{name}: {why}")
