"""What a training run is told: absl flags, collected in one plain record."""

import dataclasses

from absl import flags

from cnet_tf.basis import BASES
from cnet_tf.continuous_net import UNITS
from cnet_tf.presets import PRESETS
from cnet_tf.series import RESTRICTIONS
from cnet_tf.tableaus import SCHEMES
from trainers.augmentation import AUGMENTATIONS
from trainers.errors import OptionError
from trainers.growth import POLICIES
from trainers.schedule import OPTIMIZERS, SCHEDULES, WEIGHT_DECAYS
from trainers.strategy import STRATEGIES

# --help lists the flags of the program: what is defined here belongs to the caller.
flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of a run; the defaults here are the defaults of the flags."""

    dataset: str = "digits"
    data_dir: str | None = None
    image_size: int | None = None
    validation_fraction: float = 0.1
    augment: str = "none"
    preset: str = "digits"
    scheme: str | None = None
    basis: str | None = None
    nodes: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    unit: str | None = None
    horizon: float | None = None
    restriction: str | None = None
    batch_size: int = 128
    epochs: int = 30
    batches_per_epoch: int | None = None
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "step"
    decay_epochs: tuple[int, ...] = ()
    decay_factor: float = 0.1
    weight_decay: float = 5e-4
    weight_decay_mode: str = "l2"
    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: str = "float32"
    jit_compile: str = "auto"
    refine: str = "at_epochs"
    refine_epochs: tuple[int, ...] = ()
    plateau_patience: int = 5
    plateau_delta: float = 1e-3
    refine_times: int = 3
    refine_factor: tuple[int, ...] = (2,)
    refine_momentum: str = "carry"
    rewarm_epochs: int = 0
    strategy: str = "none"
    replicas: int = 0
    tpu: str | None = None
    sync_batch_norm: bool = False
    seed: int = 0
    runs_dir: str = "runs"
    name: str | None = None
    resume: bool = True
    save_batches: int = 0
    keep: int = 2
    rollbacks: int = 3
    rollback_rate: float = 0.5
    max_minutes: float | None = None
    tensorboard: bool = True
    verbose: int = 1


PRECISIONS = ("float32", "mixed_bfloat16", "float64")
JIT = ("auto", "on", "off")
MOMENTA = ("carry", "reset")

# flag -> (help, range or choices). Types come from `Options`.
_HELP = {
    "dataset": "Data set: 'digits' (shipped, offline), any TFDS image classification "
    "set by name, or 'folder:/path' with /path/{train,test}/<class>/*.png|jpg",
    "data_dir": "Where TFDS keeps prepared sets. Default: $TFDS_DATA_DIR, else "
    "~/tensorflow_datasets",
    "image_size": "Side to resize images to, >= 1. Default: as stored",
    "validation_fraction": "Part of the train split that is held out, in [0, 1)",
    "augment": "Per example: none, crop (pad 4, crop), crop_flip (and mirror)",
    "preset": "Net: " + ", ".join(PRESETS),
    "scheme": "Runge-Kutta scheme, overrides the preset: " + ", ".join(SCHEMES),
    "basis": "Basis of the parameter series, overrides the preset: " + ", ".join(BASES),
    "nodes": "K, functions of the basis, >= 1: one number, or one a block. Default: "
    "the preset's",
    "steps": "N, steps of the scheme, >= 1: one number, or one a block. Default: the "
    "cells of the basis",
    "unit": "Residual unit, overrides the preset: " + ", ".join(UNITS),
    "horizon": "eps, time horizon of every block, > 0. Default: the preset's, 1",
    "restriction": "How fewer steps than cells read theta: " + ", ".join(RESTRICTIONS),
    "batch_size": "Examples of one update over all replicas of all workers, >= 1 and "
    "divisible by their number",
    "epochs": "Epochs, >= 1",
    "batches_per_epoch": "Cuts every epoch short, >= 1. Default: the whole set",
    "optimizer": "sgd or adamw",
    "learning_rate": "Learning rate at the start, > 0",
    "momentum": "Momentum of sgd, in [0, 1)",
    "nesterov": "Nesterov's momentum",
    "schedule": "Learning rate over time: step, cosine (to 0), constant",
    "decay_epochs": "Epochs at which schedule 'step' multiplies the rate, increasing",
    "decay_factor": "What schedule 'step' multiplies by, in (0, 1]",
    "weight_decay": "Weight decay, >= 0",
    "weight_decay_mode": "l2 (added to the gradient) or decoupled (SGDW, AdamW)",
    "label_smoothing": "Label smoothing, in [0, 1)",
    "ema": "Decay of the moving average of the weights that the run ends with, batch "
    "norms recalibrated; in [0, 1), 0 is off",
    "precision": "Arithmetic of the layers: " + ", ".join(PRECISIONS),
    "jit_compile": "XLA for the whole step: on, off, or auto (on with a GPU; on CPUs "
    "oneDNN's kernels are faster, see BUILD_NOTES.md)",
    "refine": "When the depth is refined: at_epochs (--refine_epochs) or on_plateau "
    "(of the validation loss, or the loss where nothing is held out)",
    "refine_epochs": "Epochs before which the depth is refined, increasing, in 1 .. "
    "epochs-1",
    "plateau_patience": "Epochs without improvement that are a plateau, >= 1",
    "plateau_delta": "What the loss has to fall by to be an improvement, >= 0",
    "refine_times": "Refinements on plateaus at most, >= 1",
    "refine_factor": "What a refinement multiplies cells and steps by, >= 2: one "
    "number, or one a refinement, of which the last serves for all that follow",
    "refine_momentum": "The optimizer's slots at a refinement: carry (refined like "
    "their weights) or reset (to zero)",
    "rewarm_epochs": "Epochs, >= 0, over which the rate climbs back to "
    "--learning_rate after a refinement, to decay again from there; 0 is off",
    "strategy": "tf.distribute strategy: none, one_device, mirrored (devices of a "
    "machine), multi_worker (machines, by TF_CONFIG), tpu",
    "replicas": "Devices of the mirrored strategy, >= 0; 0 is all of them",
    "tpu": "Name or address of the TPU, 'local' on a TPU VM. Default: $TPU_NAME",
    "sync_batch_norm": "Batch norms see the batch of all replicas, not of their own",
    "seed": "Seed of weights, order and augmentation, >= 0",
    "runs_dir": "Where run directories are made",
    "name": "First part of the run directory's name. Default: <dataset>-<preset>",
    "resume": "Go on with the newest unfinished run of the same flags",
    "save_batches": "Save a snapshot after so many batches too, >= 0; 0 is only after "
    "every epoch",
    "keep": "Snapshots to keep, >= 1",
    "rollbacks": "Times that a training which diverges goes back to its last good "
    "snapshot, >= 0",
    "rollback_rate": "What the learning rate is multiplied by then, in (0, 1]",
    "max_minutes": "Save and stop after so many minutes, > 0; the same command goes "
    "on. Default: none",
    "tensorboard": "Write TensorBoard logs to <run>/tensorboard",
    "verbose": "Progress: 0 silent, 1 bar, 2 a line an epoch",
}


def define_flags():
    """Defines one absl flag for every field of `Options`."""
    for field in dataclasses.fields(Options):
        text = _HELP[field.name]
        if "Default" not in text:
            shown = field.default
            if shown is None or shown == ():
                shown = "none" if shown == () else "the preset's"
            text += f". Default: {shown}"
        kind = field.type
        if kind is bool:
            flags.DEFINE_bool(field.name, field.default, text + ".")
        elif "tuple" in str(kind):
            flags.DEFINE_list(field.name, list(field.default), text + ".")
        elif "int" in str(kind):
            flags.DEFINE_integer(field.name, field.default, text + ".")
        elif "float" in str(kind):
            flags.DEFINE_float(field.name, field.default, text + ".")
        else:
            flags.DEFINE_string(field.name, field.default, text + ".")


def from_flags(values=flags.FLAGS) -> Options:
    """The record of the parsed flags.

    Raises:
        OptionError: a list flag holds something that is no integer.
    """
    read = {}
    for field in dataclasses.fields(Options):
        value = values[field.name].value
        if isinstance(value, list):
            try:
                value = tuple(int(v) for v in value)
            except ValueError:
                raise OptionError(
                    f"--{field.name}: expected integers separated by commas. "
                    f"Received {','.join(value)!r}."
                ) from None
        read[field.name] = value
    return Options(**read)


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
    "restriction": _one_of(RESTRICTIONS),
    "batch_size": _integer(1),
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
