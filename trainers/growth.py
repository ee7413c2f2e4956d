"""Growth of depth in the middle of a training: when, where, and of what."""

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
        state: Before.
        factor: See `refine`.
        momentum: `"carry"` (default) refines the optimizer's slots like their weights,
            `"reset"` sets momenta to zero. Second moments are carried all the same:
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
    """Whether the last `plateau_patience` epochs were no better than one before.

    Better is a loss (that of the validation, where there is one) lower by more than
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
# run that is resumed grows where it would have grown.
POLICIES = {
    "at_epochs": _at_epochs,
    "on_plateau": _on_plateau,
    "adaptive": _at_epochs,
}


def factor_before(options, epoch: int, refined: list, history: list) -> int | None:
    """What to refine by before an epoch, or None.

    Args:
        options: The run's `Options`.
        epoch: Its number.
        refined: Epochs before which the depth was refined.
        history: Logs of the epochs before.
    """
    policy = POLICIES[options.refine]
    if epoch in refined or not policy(options, epoch, refined, history):
        return None
    factors = options.refine_factor
    return factors[min(len(refined), len(factors) - 1)]


def factors_of_blocks(options, factor: int, net, images) -> list[int]:
    """What a refinement multiplies each block by: the same, or 1 where it errs little.

    A function of the net alone, so that a run that goes back over a refinement chooses
    what it chose before.

    Args:
        options: The run's `Options`.
        factor: From `factor_before`.
        net: Before.
        images: Function to a batch of inputs to estimate errors on.
    """
    blocks = blocks_of(net)
    if options.refine != "adaptive":
        return [factor] * len(blocks)
    # Halves of steps differ by less than what bfloat16 resolves.
    exact = in_precision(net, keras.DTypePolicy(options.precision).variable_dtype)
    errors = [found.error for found in block_errors(exact, images())]
    chosen = marked(errors, options.refine_bulk)
    return [factor if i in chosen else 1 for i in range(len(blocks))]


def stage_before(options, epoch: int, refined: list) -> tuple | None:
    """What --grow asks for before an epoch: (factor, scheme, N), or None.

    Args:
        options: The run's `Options`.
        epoch: Its number.
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

    A manifestation shares its variables, so the optimizer stays as it is.

    Args:
        state: Before.
        stage: (factor, scheme, N), see `stage_before`.
        momentum: See `grow`.
    """
    factor, scheme, steps = stage
    if factor > 1:
        state = grow(state, factor, momentum)
    return State(manifest(state.net, scheme, steps), state.optimizer)
