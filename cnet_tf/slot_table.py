"""A table of every slot of every Keras optimizer, by name."""

import keras

from cnet_tf.optimizer_twin import inner

_MOMENTS = {"_momentums": "momentum", "_velocities": "square"}

# Class of optimizer -> its attribute -> key of `RULES`, or "copy" for counters and
# scales. An attribute is a single variable or a list with one for each weight; it may
# be missing (amsgrad) or contain None (Muon).
ANY = {
    "_iterations": "copy",
    "_learning_rate": "copy",
    "_model_variables_moving_average": "linear",
    "_accumulated_gradients": "linear",
}
SLOTS = {
    keras.optimizers.SGD: {"momentums": "momentum"},
    keras.optimizers.RMSprop: {
        "_velocities": "square",
        "_momentums": "momentum",
        "_average_gradients": "linear",
    },
    keras.optimizers.Adam: {**_MOMENTS, "_velocity_hats": "square"},
    keras.optimizers.AdamW: {**_MOMENTS, "_velocity_hats": "square"},
    keras.optimizers.Adadelta: {
        "_accumulated_grads": "square",
        "_accumulated_delta_vars": "square",
    },
    keras.optimizers.Adagrad: {"_accumulators": "square"},
    keras.optimizers.Adamax: {"_m": "momentum", "_u": "magnitude"},
    keras.optimizers.Adafactor: {"_r": "row", "_c": "column", "_v": "square"},
    keras.optimizers.Nadam: {**_MOMENTS, "_u_product": "copy"},
    keras.optimizers.Ftrl: {"_accumulators": "square", "_linears": "ftrl"},
    keras.optimizers.Lion: {"_momentums": "momentum"},
    keras.optimizers.Lamb: _MOMENTS,
    keras.optimizers.Muon: {"momentums": "momentum", "adam_velocities": "square"},
    # Its momentum is a sequence of weights; the net holds an average of them.
    keras.optimizers.ScheduleFreeAdamW: {
        "_momentums": "linear",
        "_velocities": "square",
    },
    keras.optimizers.LossScaleOptimizer: {
        "step_counter": "copy",
        "dynamic_scale": "copy",
    },
    keras.optimizers.MultiOptimizer: {},
}


def rules(optimizer) -> dict:
    """Returns attribute -> rule, for the nearest ancestor of its class in the table.

    Raises:
        ValueError: no ancestor is in the table.
    """
    for kind in type(optimizer).__mro__:
        if kind in SLOTS:
            return {**ANY, **SLOTS[kind]}
    known = ", ".join(sorted(kind.__name__ for kind in SLOTS))
    raise ValueError(
        f"optimizer: expected one of {known}, or a subclass. Received a "
        f"{type(optimizer).__name__}, whose slots are unknown: refine without "
        "it and build a new one."
    )


def slot_lists(optimizer) -> dict:
    """Returns attribute -> slots, one for each weight, without empty lists.

    Raises:
        ValueError: the optimizer has a variable that is not in the table.
    """
    table = rules(optimizer)
    found = {name: getattr(optimizer, name, None) for name in table}
    lists = {name: list(row) for name, row in found.items() if isinstance(row, list)}
    known = {id(v) for v in found.values()}
    known |= {id(v) for row in lists.values() for v in row}
    known |= {id(v) for one in inner(optimizer) for v in one.variables}
    for variable in optimizer.variables:
        if id(variable) not in known:
            raise ValueError(
                "optimizer: expected only slots that `SLOTS` lists for a "
                f"{type(optimizer).__name__}. Received {variable.path} too: refine "
                "without the optimizer and build a new one."
            )
    return {name: row for name, row in lists.items() if row}
