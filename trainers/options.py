"""What a training run is told: absl flags, collected in one plain record."""

import dataclasses

from absl import flags

from cnet_tf.basis import BASES
from cnet_tf.continuous_net import UNITS
from cnet_tf.presets import PRESETS
from cnet_tf.rate import PADDINGS
from cnet_tf.series import RESTRICTIONS
from cnet_tf.tableaus import SCHEMES
from trainers.errors import OptionError

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
    stitch: float | None = None
    padding: str | None = None
    restriction: str | None = None
    batch_size: int = 128
    replica_batch_size: int | None = None
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
    "horizon": "eps, time horizon of every block, > 0. Default: the preset's, which is "
    "its K for the published nets of fixed depth and 1 for those that grow; --nodes "
    "does not change it",
    "stitch": "Factor of the branch of every transition. Default: horizon / K of the "
    "block behind it, at the start",
    "padding": "Zeros around images where a convolution has stride 2, overrides the "
    "preset: " + ", ".join(PADDINGS),
    "restriction": "How fewer steps than cells read theta: " + ", ".join(RESTRICTIONS),
    "batch_size": "Examples of one update over all replicas of all workers, >= 1 and "
    "divisible by their number",
    "replica_batch_size": "Examples of one update on each replica, >= 1: --batch_size "
    "is then that times the replicas. Default: --batch_size by their number",
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
    "refine_momentum": "The optimizer's momenta at a refinement: carry (refined like "
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
            if shown is None:
                shown = "the preset's"
            elif isinstance(shown, tuple):
                shown = ",".join(map(str, shown)) or "none"
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
