"""The options of a training run.

One table, however long, with one row per flag: `--help`, the checks, flag files and the
identity of a run all read it.
"""

import dataclasses

from cnet_tf.basis import BASES
from cnet_tf.bounds import MOST_FACTOR, MOST_NODES, MOST_SIDE, MOST_STEPS
from cnet_tf.layer_factory import PADDINGS
from cnet_tf.presets import PRESETS
from cnet_tf.residual_unit import UNITS
from cnet_tf.series import RESTRICTIONS
from cnet_tf.tableaus import SCHEMES
from trainers import run_name
from trainers.combinations import COMBINATIONS
from trainers.data.augmentation import AUGMENTATIONS
from trainers.data_option import data_dir
from trainers.growth import MOMENTA, POLICIES
from trainers.loss import MEMBER_TARGETS
from trainers.option_kinds import (
    integer,
    list_of,
    manifestation,
    number,
    one_of,
    pair,
    record,
    switch,
    text,
    trained_model,
)
from trainers.option_table import COURSE, PROCESS, OptionTable, option
from trainers.schedule import OPTIMIZERS, SCHEDULES, WEIGHT_DECAYS
from trainers.strategy import STRATEGIES

PRECISIONS = ("float32", "mixed_bfloat16", "float64")
JIT = ("auto", "on", "off")
PARTS = ("all", "head")
_PRESETS = "the preset's"


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a training run and their defaults; checked at construction."""

    COMBINATIONS = COMBINATIONS

    # Data.
    dataset: str = option(
        "digits",
        text(),
        "Data set: 'digits' (shipped, offline), any TFDS image classification set by "
        "name, or 'folder:/path' with images in /path/{train,test}/<class>/, read as "
        "RGB",
    )
    data_dir: str | None = data_dir()
    image_size: int | None = option(
        None,
        integer(1, most=MOST_SIDE),
        "Side to resize images to, regardless of their proportions",
        "as stored",
    )
    validation_fraction: float = option(
        0.1,
        number("in [0, 1)"),
        "Fraction of the train split to hold out for validation; if the set has a "
        "validation split beside test, that one is used",
    )
    test_fraction: float = option(
        0.0,
        number("in [0, 1)"),
        "Fraction of each class of the train split to hold out for testing, drawn by "
        "--seed, if the set has no test split",
    )
    skip_broken: bool = option(
        False, switch(), "Leave out unreadable images of a folder"
    )
    augment: str = option(
        "none",
        one_of(AUGMENTATIONS),
        "Augmentation per example: crop pads by 4 and crops (a translation by -4 .. 4 "
        "pixels each way), crop_flip mirrors too",
    )
    cutout: int = option(
        0,
        integer(0, most=MOST_SIDE),
        "Side in pixels of a square that is cut out of each training image after "
        "--augment; 0 turns it off",
    )
    image_sizes: tuple[tuple[int, int], ...] = option(
        (),
        list_of(
            pair(integer(0), integer(1, most=MOST_SIDE), "epoch:height, like 8:24")
        ),
        "Heights to resize training images to, each from an epoch on; evaluation is at "
        "full size",
        "full size",
    )

    # Net.
    preset: str = option("digits", one_of(PRESETS), "Net")
    model: str | None = option(
        None,
        trained_model(),
        "Model to train further, instead of --preset: a functional or Sequential model "
        "from images to logits",
        "none",
    )
    weights: str | None = option(
        None,
        text(),
        "Start from the weights shipped for --preset that were trained on this data "
        "set; with other classes the head is initialised afresh",
        "none",
    )
    train_only: str = option(
        "all",
        one_of(PARTS),
        "Layers to train: all, or only the head, on features that stay fixed in this "
        "training",
    )
    scheme: str | None = option(
        None, one_of(SCHEMES), "Runge-Kutta scheme, overrides the preset's", _PRESETS
    )
    basis: str | None = option(
        None,
        one_of(BASES),
        "Basis of the parameter series, overrides the preset's",
        _PRESETS,
    )
    nodes: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_NODES)),
        "K, number of basis functions: one number, or one per block",
        _PRESETS,
    )
    steps: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_STEPS)),
        "N, steps of the scheme: one number, or one per block",
        "the number of cells of the basis",
    )
    unit: str | None = option(
        None, one_of(UNITS), "Residual unit, overrides the preset's", _PRESETS
    )
    horizon: float | None = option(
        None,
        number("> 0", MOST_FACTOR),
        "eps, time horizon of every block; --nodes does not change it",
        "the preset's: K for the published nets of fixed depth, 1 for those that grow",
    )
    stitch: float | None = option(
        None,
        number(most=MOST_FACTOR),
        "Factor of the branch of every transition",
        "horizon / K of the next block, at the start",
    )
    padding: str | None = option(
        None,
        one_of(PADDINGS),
        "Zero padding of convolutions with stride 2, overrides the preset's",
        _PRESETS,
    )
    restriction: str | None = option(
        None,
        one_of(RESTRICTIONS),
        "How theta is read with fewer steps than cells",
        _PRESETS,
    )
    unroll: bool = option(
        True,
        switch(),
        "Unroll the steps of a block in the graph, which runs fastest; a loop over the "
        "steps starts faster if there are many",
    )
    recompute: bool = option(
        False,
        switch(),
        "Recompute the steps of a block in the backward pass, which takes memory for "
        "sqrt(N) of them instead of N, and more time",
    )

    # Optimisation.
    batch_size: int = option(
        128,
        integer(1),
        "Examples per update over all replicas of all workers, a multiple of the "
        "number of replicas",
    )
    replica_batch_size: int | None = option(
        None,
        integer(1),
        "Examples per update on each replica; replaces --batch_size by this times the "
        "number of replicas",
        "--batch_size / number of replicas",
        decides=COURSE,
    )
    epochs: int = option(30, integer(1), "Epochs")
    batches_per_epoch: int | None = option(
        None, integer(1), "Batches after which to end every epoch", "the whole set"
    )
    optimizer: str = option("sgd", one_of(OPTIMIZERS), "Optimizer")
    learning_rate: float = option(0.1, number("> 0"), "Learning rate at the start")
    momentum: float = option(0.9, number("in [0, 1)"), "Momentum of sgd")
    nesterov: bool = option(False, switch(), "Use Nesterov momentum")
    schedule: str = option(
        "step",
        one_of(SCHEDULES),
        "Learning rate over time; cosine and linear fall to 0, one_cycle rises from "
        "1/25 of the rate and falls to 0",
    )
    warmup_epochs: int = option(
        0, integer(0), "Epochs over which the rate first rises to --learning_rate"
    )
    decay_epochs: tuple[int, ...] = option(
        (),
        list_of(integer(1)),
        "Epochs at which schedule 'step' multiplies the rate, in increasing order",
    )
    decay_factor: float = option(
        0.1, number("in (0, 1]"), "Factor by which schedule 'step' multiplies the rate"
    )
    weight_decay: float = option(5e-4, number(">= 0"), "Weight decay")
    weight_decay_mode: str = option(
        "l2",
        one_of(WEIGHT_DECAYS),
        "Weight decay in the gradient (l2) or in the optimizer (decoupled: SGDW, "
        "AdamW)",
    )
    label_smoothing: float = option(0.0, number("in [0, 1)"), "Label smoothing")
    ema: float = option(
        0.0,
        number("in [0, 1)"),
        "Decay of the moving average of the weights; the run ends with this average "
        "and recalibrated batch norms; 0 turns it off",
    )
    recalibrate: int | None = option(
        None,
        integer(0),
        "Batches of training images on which to re-estimate batch-norm statistics at "
        "the end: those of the net for each evaluation of its scheme, those of "
        "manifestations other than the net and its members along depth; training keeps "
        "statistics per cell, which several evaluations share; 0 leaves these",
        "20 for nets with members (from --any_depth, --model or --weights), which are "
        "meant to run in every form; otherwise, and with --train_only=head, 0",
    )
    precision: str = option("float32", one_of(PRECISIONS), "Precision of the layers")
    jit_compile: str = option(
        "auto",
        one_of(JIT),
        "Compile the whole step with XLA; auto does so on a GPU only (on CPUs oneDNN's "
        "kernels are faster, see BUILD_NOTES.md)",
    )

    # Growth.
    refine: str = option(
        "at_epochs",
        one_of(POLICIES),
        "When to refine the depth: at --refine_epochs, or on a plateau of the "
        "validation loss (of the training loss if nothing is held out); adaptive "
        "refines the blocks with the largest step errors at --refine_epochs",
    )
    refine_epochs: tuple[int, ...] = option(
        (),
        list_of(integer(1)),
        "Epochs before which to refine the depth, in increasing order, below --epochs",
    )
    plateau_patience: int = option(
        5, integer(1), "Epochs without improvement that count as a plateau"
    )
    plateau_delta: float = option(
        1e-3, number(">= 0"), "Decrease of the loss that counts as an improvement"
    )
    refine_times: int = option(3, integer(1), "Maximum number of plateau refinements")
    refine_bulk: float = option(
        0.5,
        number("in (0, 1]"),
        "Fraction of the sum of squared errors over all blocks; --refine=adaptive "
        "refines as few blocks as possible that together account for it",
    )
    refine_factor: tuple[int, ...] = option(
        (2,),
        list_of(integer(2, most=MOST_NODES)),
        "Factor by which a refinement multiplies cells and steps: one number, or one "
        "per refinement, the last of which applies to all that follow",
    )
    refine_momentum: str = option(
        "carry",
        one_of(MOMENTA),
        "What a refinement does to the optimizer's slots: refine them like their "
        "weights (carry) or set them to zero (reset)",
    )
    grow: tuple[tuple[int, str, int, int], ...] = option(
        (),
        list_of(
            record(
                (
                    integer(0),
                    one_of(SCHEMES),
                    integer(1, most=MOST_STEPS),
                    integer(1, most=MOST_NODES),
                ),
                "epoch:scheme:N:K, like 8:midpoint:2:2",
            )
        ),
        "Manifestations by epoch, the first at 0 instead of --scheme, --steps and "
        "--nodes: before each epoch K is refined, then scheme and N are set; horizon "
        "and stitch keep their initial values",
    )
    rewarm_epochs: int = option(
        0,
        integer(0),
        "Epochs over which the rate climbs back to --learning_rate after a "
        "refinement, before it decays again; 0 turns it off",
    )

    # Any depth.
    any_depth: tuple[tuple[str, int], ...] = option(
        (),
        list_of(
            manifestation(),
            unique=True,
        ),
        "Members: manifestations that train together with the net, the cheapest in "
        "every update, the rest in turn; they share its kernels but have their own "
        "batch norms",
        "none",
    )
    any_depth_epoch: int = option(
        0, integer(0), "Epoch before which members start, with the net's values then"
    )
    any_depth_weight: float = option(
        0.3, number("> 0"), "Weight of each member's loss; that of the net's loss is 1"
    )
    any_depth_targets: str = option(
        "distilled",
        one_of(MEMBER_TARGETS),
        "What members learn from: the net's probabilities (distilled), the labels, or "
        "the mean of the two (mixed)",
    )

    # Machines.
    strategy: str = option(
        "none",
        one_of(STRATEGIES),
        "tf.distribute strategy: mirrored uses the devices of one machine, "
        "multi_worker several machines (by TF_CONFIG)",
    )
    replicas: int = option(
        0, integer(0), "Devices of the mirrored strategy; 0 uses all of them"
    )
    tpu: str | None = option(
        None,
        text(),
        "Name or address of the TPU, 'local' on a TPU VM",
        "$TPU_NAME",
        decides=PROCESS,
    )
    start_minutes: float = option(
        10.0,
        number("> 0"),
        "Minutes to wait for all workers of a cluster to start",
        decides=PROCESS,
    )
    sync_batch_norm: bool = option(
        False,
        switch(),
        "Normalise over the batch of all replicas, not over each replica's own",
    )
    seed: int = option(
        0, integer(0, 2**32 - 1), "Seed of initial weights, order and augmentation"
    )

    # Run directory.
    runs_dir: str = option(
        "runs", text(), "Folder in which to create run directories", decides=PROCESS
    )
    name: str | None = option(
        None,
        text(run_name.EXPECTED, run_name.is_name),
        "First part of the run directory's name",
        "<dataset>-<preset>",
        decides=PROCESS,
    )
    resume: bool = option(
        True,
        switch(),
        "Resume the newest unfinished run with the same flags",
        decides=PROCESS,
    )
    extend: bool = option(
        False,
        switch(),
        "Extend the newest run that has fewer --epochs and is otherwise the same, "
        "finished or not; from there on the schedule follows the new --epochs",
        decides=PROCESS,
    )
    save_batches: int = option(
        0,
        integer(0),
        "Also save a snapshot every so many batches; 0 saves after every epoch only",
        decides=COURSE,
    )
    keep: int = option(2, integer(1), "Snapshots to keep", decides=PROCESS)
    rollbacks: int = option(
        3,
        integer(0),
        "How often a diverging run may return to its last good snapshot",
        decides=COURSE,
    )
    rollback_rate: float = option(
        0.5,
        number("in (0, 1]"),
        "Factor by which each rollback multiplies the learning rate",
    )
    max_minutes: float | None = option(
        None,
        number("> 0"),
        "Minutes after which to save and stop; the same command resumes",
        "none",
        decides=PROCESS,
    )
    tensorboard: bool = option(
        True, switch(), "Write TensorBoard logs to <run>/tensorboard", decides=PROCESS
    )
    verbose: int = option(
        1,
        one_of((0, 1, 2)),
        "Progress: 0 silent, 1 a bar, 2 one line per epoch",
        decides=PROCESS,
    )
