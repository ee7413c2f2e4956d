"""Grows depth during training: when, by how much, and in which blocks."""

import dataclasses
import itertools

import keras

from cnet_tf.architecture import in_precision
from cnet_tf.manifestation import manifest
from cnet_tf.optimizer_slots import slots
from cnet_tf.refinement import refine
from cnet_tf.step_errors import block_errors, marked
from cnet_tf.surgery import blocks_of


@dataclasses.dataclass
class State:
    """What training changes; growth replaces both."""

    net: keras.Model
    optimizer: keras.optimizers.Optimizer


def grow(state: State, factor, momentum: str = "carry") -> State:
    """Refines net and optimizer together.

    Args:
        state: Net and optimizer before.
        factor: See `refine`.
        momentum: `"carry"` (default) refines the optimizer's slots like their weights,
            `"reset"` sets momenta to zero. Second moments are carried either way:
            without them, Adam's first update is three times the rate.
    """
    net, optimizer = refine(state.net, factor, optimizer=state.optimizer)
    if momentum == "reset":
        for slot in slots(optimizer, "momentum"):
            slot.assign(keras.ops.zeros_like(slot))
    return State(net, optimizer)


def _at_epochs(options, epoch, refined, history):
    return epoch in options.refine_epochs


def _on_plateau(options, epoch, refined, history):
    """Whether the last `plateau_patience` epochs were no better than an earlier one.

    Better means a loss (on validation images, if there are any) lower by more than
    `plateau_delta`. Epochs count from the last refinement.
    """
    if len(refined) == options.refine_times:
        return False
    since = history[refined[-1] if refined else 0 :]
    losses = [logs.get("val_loss", logs["loss"]) for logs in since]
    border = max(0, len(losses) - options.plateau_patience)
    before, last = losses[:border], losses[border:]
    return bool(before) and min(last) >= min(before) - options.plateau_delta


MOMENTA = ("carry", "reset")

# --refine -> whether to refine before an epoch; functions of the past alone, so that a
# resumed run grows when it would have grown.
POLICIES = {
    "at_epochs": _at_epochs,
    "on_plateau": _on_plateau,
    "adaptive": _at_epochs,
}


def factor_before(options, epoch: int, refined: list, history: list) -> int | None:
    """Returns the factor to refine by before an epoch, or None.

    Args:
        options: The run's `Options`.
        epoch: Number of the epoch.
        refined: Epochs before which the depth was refined.
        history: Logs of the earlier epochs.
    """
    policy = POLICIES[options.refine]
    if epoch in refined or not policy(options, epoch, refined, history):
        return None
    factors = options.refine_factor
    return factors[min(len(refined), len(factors) - 1)]


def factors_of_blocks(options, factor: int, net, images) -> list[int]:
    """Returns the factor of each block: the same for all, or 1 where it errs little.

    A function of the net alone, so that a run that rolls back over a refinement makes
    the same choice again.

    Args:
        options: The run's `Options`.
        factor: From `factor_before`.
        net: The net before the refinement.
        images: Function that returns a batch of inputs to estimate errors on.
    """
    blocks = blocks_of(net)
    if options.refine != "adaptive":
        return [factor] * len(blocks)
    # Halving the steps changes states by less than bfloat16 resolves.
    exact = in_precision(net, keras.DTypePolicy(options.precision).variable_dtype)
    errors = [found.error for found in block_errors(exact, images())]
    chosen = marked(errors, options.refine_bulk)
    return [factor if i in chosen else 1 for i in range(len(blocks))]


def stage_before(options, epoch: int, refined: list) -> tuple | None:
    """Returns what --grow asks for before an epoch: (factor, scheme, N), or None.

    Args:
        options: The run's `Options`.
        epoch: Number of the epoch.
        refined: Epochs before which the net was changed.
    """
    if epoch in refined:
        return None
    for (*_, before), (start, scheme, steps, nodes) in itertools.pairwise(options.grow):
        if start == epoch:
            return nodes // before, scheme, steps
    return None


def advance(state: State, stage: tuple, momentum: str = "carry") -> State:
    """Refines by the factor of a stage, then manifests with its scheme and steps.

    A manifestation shares its variables, so the optimizer stays the same.

    Args:
        state: Net and optimizer before.
        stage: (factor, scheme, N), see `stage_before`.
        momentum: See `grow`.
    """
    factor, scheme, steps = stage
    if factor > 1:
        state = grow(state, factor, momentum)
    return State(manifest(state.net, scheme, steps), state.optimizer)
