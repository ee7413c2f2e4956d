"""Learning-rate schedules and optimizers by name."""

import keras


def _step(options, total, per_epoch):
    rates = [
        options.learning_rate * options.decay_factor**i
        for i in range(len(options.decay_epochs) + 1)
    ]
    if len(rates) == 1:
        return _constant(options, total, per_epoch)
    # PiecewiseConstantDecay changes after its boundary: step b still has the old rate.
    boundaries = [epoch * per_epoch - 1 for epoch in options.decay_epochs]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


def _cosine(options, total, per_epoch):
    return keras.optimizers.schedules.CosineDecay(options.learning_rate, total)


def _constant(options, total, per_epoch):
    return options.learning_rate


SCHEDULES = {"step": _step, "cosine": _cosine, "constant": _constant}


def _sgd(options, rate, decay):
    return keras.optimizers.SGD(
        rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=decay,
        **_ema(options),
    )


def _adamw(options, rate, decay):
    return keras.optimizers.AdamW(rate, weight_decay=decay or 0.0, **_ema(options))


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}
WEIGHT_DECAYS = ("l2", "decoupled")


def _ema(options):
    return {"use_ema": options.ema > 0, "ema_momentum": options.ema or 0.99}


def make_optimizer(options, per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of a run.

    Args:
        options: The run's `Options`.
        per_epoch: Updates of an epoch.

    L2 weight decay is added to the gradient by the training step, decoupled decay by
    the optimizer (theta <- theta - rate * decay * theta).
    """
    rate = SCHEDULES[options.schedule](options, options.epochs * per_epoch, per_epoch)
    decoupled = options.weight_decay_mode == "decoupled" and options.weight_decay > 0
    return OPTIMIZERS[options.optimizer](
        options, rate, options.weight_decay if decoupled else None
    )


def learning_rate(optimizer) -> float:
    """The rate of the next update, as a number."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
