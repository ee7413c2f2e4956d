"""Options of a run that exclude or need one another.

(option, wrong, why): `wrong` and `why` are functions of the options, see `OptionTable`.
"""

import itertools
import math

from cnet_tf.bounds import MOST_NODES
from cnet_tf.member_name import member_name
from cnet_tf.presets import PRESETS, has_blocks
from trainers.option_table import excluded

# Options that say how to build a net.
OF_PRESETS = (
    "basis",
    "nodes",
    "unit",
    "horizon",
    "stitch",
    "padding",
    "restriction",
    "sync_batch_norm",
    "grow",
    "weights",
)


def _increasing(name):
    """Returns the checks that a list of epochs increases and ends before --epochs."""

    def disordered(options):
        epochs = getattr(options, name)
        return list(epochs) != sorted(set(epochs))

    def beyond(options):
        epochs = getattr(options, name)
        return epochs and epochs[-1] >= options.epochs

    return (
        (
            name,
            disordered,
            lambda options: (
                f"expected increasing epochs. Received {list(getattr(options, name))}."
            ),
        ),
        (
            name,
            beyond,
            lambda options: (
                f"expected epochs below --epochs={options.epochs}. Received "
                f"{getattr(options, name)[-1]}, which would never be reached."
            ),
        ),
    )


def _lost(epochs, options) -> list[int]:
    """Lists the epochs at which the rate is still rising, so that none can lower it."""
    rises = {0: options.warmup_epochs}
    if options.rewarm_epochs:  # Each refinement begins a rise, and ends one.
        stages = (epoch for epoch, *_ in options.grow[1:])
        starts = (*options.refine_epochs, *stages)
        rises |= dict.fromkeys(sorted(starts), options.rewarm_epochs)
    ends = [*list(rises)[1:], math.inf]
    spans = [(s, min(s + rises[s], e)) for s, e in zip(rises, ends, strict=True)]
    return [e for e in epochs if any(start < e <= end for start, end in spans)]


def _of_presets_alone(name):
    """Excludes an option that --model, a net from a file, has no use for."""
    remedy = "leave one of the two out"
    if name == "grow":  # It may come from a flag file.
        remedy = "give an empty --grow=, and --scheme and --steps for another start"
    what = "--model, whose layers are fixed"
    return excluded(name, lambda options: options.model, what, remedy)


def _of_all_layers(name):
    """Excludes an option that changes batch norms when only the head learns."""
    what = "--train_only=head, as it changes the batch norms of the fixed features"
    return excluded(name, lambda options: options.train_only == "head", what)


def _bad_start(pairs, epochs):
    """Whether epochs do not start at 0, do not increase or never come."""
    starts = [start for start, *_ in pairs]
    ordered = starts == sorted(set(starts))
    return bool(starts) and not (ordered and starts[0] == 0 and starts[-1] < epochs)


def _no_multiples(options):
    nodes = [stage[-1] for stage in options.grow]
    return [(a, b) for a, b in itertools.pairwise(nodes) if b % a]


def _basis(options):
    return options.basis or PRESETS[options.preset].get("basis", "constant")


def _largest(options) -> int:
    """Returns the larger of K and N at the end, as far as the options determine it.

    Refinements on plateaus do not count: there may be fewer than allowed.
    """
    times = len(options.refine_epochs)
    factors = options.refine_factor[:times]
    rest = (times - len(factors)) if factors else 0
    # Far beyond the bound it does not matter how far.
    grown = math.prod(factors) * math.prod(factors[-1:]) ** min(rest, 20)
    nodes = options.nodes
    if not nodes and not options.model:
        nodes = PRESETS[options.preset].get("nodes", 1)
    nodes = nodes if isinstance(nodes, tuple) else (nodes or 1,)
    return max((*nodes, *options.steps, 1)) * grown


def _grow_excludes(options):
    """Lists the given options that --grow replaces or excludes."""
    names = ("refine_epochs", "scheme", "nodes", "steps")
    given = [f"--{name}" for name in names if getattr(options, name)]
    return given + [f"--refine={options.refine}"] * (options.refine != "at_epochs")


def _members_in_force(options):
    """Lists members of --any_depth that --grow trains from --any_depth_epoch on."""
    stages = options.grow
    before = [s for s in stages if s[0] <= options.any_depth_epoch][-1:]
    after = [s for s in stages if s[0] > options.any_depth_epoch]
    names = {member_name(scheme, steps) for _, scheme, steps, _ in before + after}
    return [n for n in (member_name(*m) for m in options.any_depth) if n in names]


def _fixed(options, remedy):
    return (
        f"expected a preset with blocks. Received {options.preset!r}, whose depth is "
        f"fixed: choose another, or {remedy}."
    )


def grows(options):
    """Whether a run refines its depth."""
    return options.refine_epochs or options.refine != "at_epochs"


COMBINATIONS = (
    *map(_of_presets_alone, OF_PRESETS),
    *_increasing("refine_epochs"),
    *_increasing("decay_epochs"),
    (
        "decay_epochs",
        lambda options: (
            options.schedule == "step" and _lost(options.decay_epochs, options)
        ),
        lambda options: (
            "expected epochs after the rate has risen, by --warmup_epochs or after a "
            "refinement by --rewarm_epochs. Received "
            f"{_lost(options.decay_epochs, options)}: give later ones, or leave the "
            "rise out."
        ),
    ),
    (
        "refine_epochs",
        lambda options: (
            grows(options) and not options.model and not has_blocks(options.preset)
        ),
        lambda options: _fixed(options, "do not refine"),
    ),
    excluded(
        "refine_epochs",
        lambda options: options.refine == "on_plateau",
        "--refine=on_plateau, which chooses when",
    ),
    (
        "refine_epochs",
        lambda options: options.refine == "adaptive" and not options.refine_epochs,
        lambda options: (
            "expected epochs with --refine=adaptive, which chooses blocks but not "
            "when. Received none."
        ),
    ),
    (
        "grow",
        lambda options: _bad_start(options.grow, options.epochs),
        lambda options: (
            f"expected increasing epochs from 0, below --epochs={options.epochs}. "
            f"Received {[start for start, *_ in options.grow]}."
        ),
    ),
    (
        "grow",
        lambda options: _no_multiples(options),
        lambda options: (
            "expected each K a multiple of the one before. Received "
            f"{[stage[-1] for stage in options.grow]}."
        ),
    ),
    (
        "grow",
        lambda options: options.grow and _grow_excludes(options),
        lambda options: (
            f"expected none of {', '.join(_grow_excludes(options))} with it. Received "
            "both: leave one out."
        ),
    ),
    (
        "grow",
        lambda options: options.grow and not has_blocks(options.preset),
        lambda options: _fixed(options, "do not grow"),
    ),
    (
        "grow",
        lambda options: options.grow and _basis(options) == "hat",
        lambda options: (
            "expected another basis than 'hat', whose K - 1 cells do not grow by "
            "factors of K. Choose --basis or --refine_epochs."
        ),
    ),
    *map(_of_all_layers, ("ema", "recalibrate", "any_depth")),
    (
        "image_sizes",
        lambda options: _bad_start(options.image_sizes, options.epochs),
        lambda options: (
            f"expected increasing epochs from 0, below --epochs={options.epochs}. "
            f"Received {[start for start, _ in options.image_sizes]}."
        ),
    ),
    (
        "any_depth",
        lambda options: (
            options.any_depth and not options.model and not has_blocks(options.preset)
        ),
        lambda options: _fixed(options, "leave it out"),
    ),
    (
        "any_depth",
        _members_in_force,
        lambda options: (
            "expected manifestations that --grow does not train as the net from "
            f"--any_depth_epoch on. Received {_members_in_force(options)[0]} in both: "
            "leave it out here."
        ),
    ),
    (
        "any_depth_epoch",
        lambda options: options.any_depth and options.any_depth_epoch >= options.epochs,
        lambda options: (
            f"expected less than --epochs={options.epochs}. Received "
            f"{options.any_depth_epoch}, which would never be reached."
        ),
    ),
    (
        "warmup_epochs",
        lambda options: options.warmup_epochs >= options.epochs,
        lambda options: (
            f"expected less than --epochs={options.epochs}. Received "
            f"{options.warmup_epochs}."
        ),
    ),
    (
        "warmup_epochs",
        lambda options: options.schedule == "one_cycle" and not options.warmup_epochs,
        lambda options: (
            "expected at least 1 with --schedule=one_cycle, which rises first. "
            "Received 0."
        ),
    ),
    (
        "refine_factor",
        lambda options: _largest(options) > MOST_NODES,
        lambda options: (
            f"expected at most {MOST_NODES} functions and steps per block in the end. "
            f"Received factors that lead to {_largest(options)}: refine less often."
        ),
    ),
    (
        "refine_factor",
        lambda options: not options.refine_factor,
        lambda options: "expected a factor. Received none.",
    ),
    (
        "rewarm_epochs",
        lambda options: options.rewarm_epochs and options.schedule == "constant",
        lambda options: (
            "expected 0 with --schedule=constant, whose rate never falls. "
            f"Received {options.rewarm_epochs}."
        ),
    ),
    (
        "extend",
        lambda options: options.extend and not options.resume,
        lambda options: "expected no --noresume with it. Received both: leave one out.",
    ),
    (
        "replicas",
        lambda options: options.replicas and options.strategy != "mirrored",
        lambda options: (
            f"expected --strategy=mirrored with it. Received {options.strategy!r}."
        ),
    ),
    (
        "tpu",
        lambda options: options.tpu and options.strategy != "tpu",
        lambda options: (
            f"expected --strategy=tpu with it. Received {options.strategy!r}."
        ),
    ),
)
