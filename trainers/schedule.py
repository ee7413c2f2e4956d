"""Learning rates over time, and optimizers by name."""

import math

import keras


def _step(options, start, update, per_epoch):
    """Multiplies the rate by decay_factor at every decay epoch after the start."""
    decays = [e for e in options.decay_epochs if start < e * per_epoch <= update]
    return options.learning_rate * options.decay_factor ** len(decays)


def _cosine(options, start, update, per_epoch):
    """Falls to zero at the end, along half a period of a cosine."""
    part = (update - start) / (options.epochs * per_epoch - start)
    return options.learning_rate * (1 + math.cos(math.pi * part)) / 2


def _constant(options, start, update, per_epoch):
    return options.learning_rate


def _linear(options, start, update, per_epoch):
    """Falls linearly to zero at the end."""
    part = (update - start) / (options.epochs * per_epoch - start)
    return options.learning_rate * (1 - part)


# The rate after the warm-up. one_cycle is a cosine with its own rise.
SCHEDULES = {
    "step": _step,
    "cosine": _cosine,
    "constant": _constant,
    "linear": _linear,
    "one_cycle": _cosine,
}


# Schedules that end with the last epoch: more epochs change the rate throughout.
_OF_LENGTH = ("cosine", "linear", "one_cycle")


def extension(options, per_epoch: int, progress) -> str:
    """Says what more epochs do to the rate of an extended run.

    Args:
        options: The run's `Options`, with the new number of epochs.
        per_epoch, progress: See `learning_rate`.
    """
    if options.schedule not in _OF_LENGTH:
        return (
            f"--schedule={options.schedule} does not depend on --epochs: the run ends "
            f"as if it had had {options.epochs} from the start"
        )
    rate = learning_rate(options, per_epoch, progress)
    return (
        f"--schedule={options.schedule} follows the new --epochs from here on, so the "
        f"rate is {rate:.3g} now and the run ends differently than with "
        f"{options.epochs} epochs from the start"
    )


def _half_cosine_rise(part):
    """Goes from 1/25 to 1 in half a period (Smith and Topin 2019, arXiv 1708.07120)."""
    return 1 / 25 + 24 / 25 * (1 - math.cos(math.pi * part)) / 2


# The rise of the warm-up over part in (0, 1]; linear for schedules not listed here.
_RISES = {"one_cycle": _half_cosine_rise}


def value_at(pairs, epoch: int):
    """Returns the value of the last (epoch, value) not later than `epoch`, or None."""
    return next((value for start, value in reversed(pairs) if start <= epoch), None)


def learning_rate(options, per_epoch: int, progress) -> float:
    """Returns the rate of the next update, which depends only on the run's past.

    It rises over the first `warmup_epochs` to `learning_rate` and then follows
    `schedule` over the remaining epochs.

    With `rewarm_epochs` W > 0, a refinement restarts the schedule: the
    rate climbs linearly over W epochs from where it was back to `learning_rate`, then
    decays over the remaining epochs (Gupta et al. 2023, arXiv 2308.04014, "re-warm and
    re-decay"). Every rollback multiplies it by `rollback_rate`.

    Args:
        options: The run's `Options`.
        per_epoch: Updates per epoch.
        progress: `Progress`: its `updates`, `refined` and `diverged`.
    """
    refined = progress.refined if options.rewarm_epochs else []
    rate = _scheduled(options, per_epoch, progress.updates, refined)
    return rate * options.rollback_rate ** len(progress.diverged)


def _scheduled(options, per_epoch, update, refined):
    schedule = SCHEDULES[options.schedule]
    if not refined:
        warm = options.warmup_epochs * per_epoch
        if update >= warm:
            return schedule(options, warm, update, per_epoch)
        rise = _RISES.get(options.schedule, lambda part: part)
        return options.learning_rate * rise((update + 1) / warm)
    start = refined[-1] * per_epoch
    warm = options.rewarm_epochs * per_epoch
    if update - start >= warm:
        return schedule(options, start + warm, update, per_epoch)
    low = _scheduled(options, per_epoch, start, refined[:-1])
    return low + (options.learning_rate - low) * (update - start + 1) / warm


def _sgd(options, decay):
    return keras.optimizers.SGD(
        options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=decay,
        **_ema(options),
    )


def _adamw(options, decay):
    return keras.optimizers.AdamW(
        options.learning_rate, weight_decay=decay or 0.0, **_ema(options)
    )


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}
WEIGHT_DECAYS = ("l2", "decoupled")


def _ema(options):
    return {"use_ema": options.ema > 0, "ema_momentum": options.ema or 0.99}


def make_optimizer(options, variables) -> keras.optimizers.Optimizer:
    """Returns the built optimizer of a run; the loop sets its rate.

    The training step adds L2 weight decay to the gradient; the optimizer applies
    decoupled decay (theta <- theta - rate * decay * theta).

    Args:
        options: The run's `Options`.
        variables: Variables to train.
    """
    decoupled = options.weight_decay_mode == "decoupled" and options.weight_decay > 0
    optimizer = OPTIMIZERS[options.optimizer](
        options, options.weight_decay if decoupled else None
    )
    optimizer.build(variables)
    return optimizer
