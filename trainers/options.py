"""What a training run is told.

One table, however long: `--help`, the checks, flag files and the identity of a run read
it as it stands, a row a flag.
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
        "Side to resize images to, whatever their proportions",
        "as stored",
    )
    validation_fraction: float = option(
        0.1,
        number("in [0, 1)"),
        "Part of the train split to hold out; a set's own validation split is used "
        "where it has one beside test",
    )
    test_fraction: float = option(
        0.0,
        number("in [0, 1)"),
        "Part of each class of the train split to hold out for testing, drawn by "
        "--seed, where a set has no test split",
    )
    skip_broken: bool = option(
        False, switch(), "Leave out images of a folder that cannot be read"
    )
    augment: str = option(
        "none",
        one_of(AUGMENTATIONS),
        "Augmentation, per example: crop pads by 4 and crops, crop_flip mirrors too "
        "(a translation by -4 .. 4 pixels each way)",
    )
    cutout: int = option(
        0,
        integer(0, most=MOST_SIDE),
        "Side in pixels of a square that is cut out of each image of the training, "
        "after --augment; 0 turns it off",
    )
    image_sizes: tuple[tuple[int, int], ...] = option(
        (),
        list_of(
            pair(integer(0), integer(1, most=MOST_SIDE), "epoch:height, like 8:24")
        ),
        "Heights that images of the training are resized to from an epoch on; "
        "evaluation is at full size",
        "full size",
    )

    # Net.
    preset: str = option("digits", one_of(PRESETS), "Net")
    model: str | None = option(
        None,
        trained_model(),
        "What to train on instead of --preset: a functional or Sequential model from "
        "images to logits",
        "none",
    )
    weights: str | None = option(
        None,
        text(),
        "Data set on which weights that ship for --preset were trained, to start from; "
        "with other classes the head is drawn afresh",
        "none",
    )
    train_only: str = option(
        "all",
        one_of(PARTS),
        "Layers that learn: all, or the head alone, on features that stay for this "
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
        "K, functions of the basis: one number, or one a block",
        _PRESETS,
    )
    steps: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_STEPS)),
        "N, steps of the scheme: one number, or one a block",
        "the cells of the basis",
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
        "Zeros around images where a convolution has stride 2, overrides the preset's",
        _PRESETS,
    )
    restriction: str | None = option(
        None, one_of(RESTRICTIONS), "How fewer steps than cells read theta", _PRESETS
    )
    unroll: bool = option(
        True,
        switch(),
        "Give every step a part of the graph for itself, which runs fastest; steps in "
        "one loop start faster where there are many",
    )
    recompute: bool = option(
        False,
        switch(),
        "Compute the steps of a block again in the backward pass, which takes memory "
        "for sqrt(N) of them instead of N, and more time",
    )

    # Optimisation.
    batch_size: int = option(
        128,
        integer(1),
        "Examples of one update over all replicas of all workers, a multiple of their "
        "number",
    )
    replica_batch_size: int | None = option(
        None,
        integer(1),
        "Examples of one update on each replica; replaces --batch_size by that times "
        "the replicas",
        "--batch_size by their number",
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
        0, integer(0), "Epochs over which the rate rises to --learning_rate at first"
    )
    decay_epochs: tuple[int, ...] = option(
        (),
        list_of(integer(1)),
        "Epochs at which schedule 'step' multiplies the rate, increasing",
    )
    decay_factor: float = option(
        0.1, number("in (0, 1]"), "What schedule 'step' multiplies the rate by"
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
        "Decay of the moving average of the weights that the run ends with, its batch "
        "norms recalibrated; 0 turns it off",
    )
    recalibrate: int | None = option(
        None,
        integer(0),
        "Batches of training images on which batch norms are estimated anew at the "
        "end: those of the net for each evaluation of its scheme, those of what is "
        "neither it nor a member along depth, where the training keeps statistics of "
        "cells, which several evaluations share; 0 leaves them",
        "20 for nets with members, of --any_depth or brought by --model or --weights, "
        "which are to run in every form; else 0, and with --train_only=head",
    )
    precision: str = option("float32", one_of(PRECISIONS), "Arithmetic of the layers")
    jit_compile: str = option(
        "auto",
        one_of(JIT),
        "XLA for the whole step; auto uses it on a GPU only (on CPUs oneDNN's kernels "
        "are faster, see BUILD_NOTES.md)",
    )

    # Growth.
    refine: str = option(
        "at_epochs",
        one_of(POLICIES),
        "When to refine the depth: at --refine_epochs, or on a plateau of the "
        "validation loss (of the training loss where nothing is held out); adaptive "
        "refines at --refine_epochs the blocks whose steps err most",
    )
    refine_epochs: tuple[int, ...] = option(
        (),
        list_of(integer(1)),
        "Epochs before which to refine the depth, increasing, below --epochs",
    )
    plateau_patience: int = option(
        5, integer(1), "Epochs without improvement that make a plateau"
    )
    plateau_delta: float = option(
        1e-3, number(">= 0"), "Fall of the loss that counts as an improvement"
    )
    refine_times: int = option(3, integer(1), "Refinements on plateaus at most")
    refine_bulk: float = option(
        0.5,
        number("in (0, 1]"),
        "Part of the squared errors of all blocks that those refined by "
        "--refine=adaptive, as few as can be, have together",
    )
    refine_factor: tuple[int, ...] = option(
        (2,),
        list_of(integer(2, most=MOST_NODES)),
        "What a refinement multiplies cells and steps by: one number, or one a "
        "refinement, of which the last serves all that follow",
    )
    refine_momentum: str = option(
        "carry",
        one_of(MOMENTA),
        "The optimizer's slots at a refinement: refined like their weights (carry) or "
        "set to zero (reset)",
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
        "Manifestations by epoch, the first at 0 in place of --scheme, --steps and "
        "--nodes: from each epoch on K is refined, then scheme and N are set; horizon "
        "and stitch stay those of the start",
    )
    rewarm_epochs: int = option(
        0,
        integer(0),
        "Epochs over which the rate climbs back to --learning_rate after a "
        "refinement, to decay again from there; 0 turns it off",
    )

    # Any depth.
    any_depth: tuple[tuple[str, int], ...] = option(
        (),
        list_of(
            manifestation(),
            unique=True,
        ),
        "Manifestations that learn beside the net, the cheapest in every update, the "
        "others in turn; they share its kernels and have batch norms of their own",
        "none",
    )
    any_depth_epoch: int = option(
        0, integer(0), "Epoch before which they start, with the values of the net then"
    )
    any_depth_weight: float = option(
        0.3, number("> 0"), "Weight of the loss of each, where that of the net is 1"
    )
    any_depth_targets: str = option(
        "distilled",
        one_of(MEMBER_TARGETS),
        "What they learn from: the net's probabilities (distilled), the labels, or the "
        "mean of the two (mixed)",
    )

    # Machines.
    strategy: str = option(
        "none",
        one_of(STRATEGIES),
        "tf.distribute strategy: mirrored uses the devices of a machine, multi_worker "
        "several machines (by TF_CONFIG)",
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
        "Normalise by the batch of all replicas, not by each replica's own",
    )
    seed: int = option(
        0, integer(0, 2**32 - 1), "Seed of weights, order and augmentation"
    )

    # Run directory.
    runs_dir: str = option(
        "runs", text(), "Where to make run directories", decides=PROCESS
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
        "Resume the newest unfinished run of the same flags",
        decides=PROCESS,
    )
    extend: bool = option(
        False,
        switch(),
        "Go on with the newest run that has fewer --epochs and is the same otherwise, "
        "finished or not; from there on the schedule is that of the new --epochs",
        decides=PROCESS,
    )
    save_batches: int = option(
        0,
        integer(0),
        "Batches after which to save a snapshot too; 0 saves after every epoch only",
        decides=COURSE,
    )
    keep: int = option(2, integer(1), "Snapshots to keep", decides=PROCESS)
    rollbacks: int = option(
        3,
        integer(0),
        "Times that a diverging run returns to its last good snapshot",
        decides=COURSE,
    )
    rollback_rate: float = option(
        0.5,
        number("in (0, 1]"),
        "What each rollback multiplies the learning rate by",
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
        "Progress: 0 silent, 1 a bar, 2 a line an epoch",
        decides=PROCESS,
    )
