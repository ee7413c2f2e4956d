"""Carries an optimizer and its slots over to other variables, theta' = P theta.

This works for every Keras optimizer: `slot_table` names its slots, `slot_rules` maps
them. This module knows nothing of nets, only variables and a matrix for each.

The next update with the gradients P g is then P times the update that would have been
made, if P repeats cells and the update is elementwise, or divides by norms of its own
(Lamb, Adafactor). This is not true where a norm of g matters, because P changes it:
`clipnorm` and `global_clipnorm` clip more; Muon orthogonalises P m as a whole. (Muon
treats every variable with two axes as a matrix, including biases and norms of K nodes,
of shape (K, channels); kernels of K nodes have more axes and get its AdamW. Name the
former in `exclude_layers`.)

For every other P, in Adam and similar optimizers, the ratios of momentum to the root of
the second moment stay below the largest ratio before, so the first update after a
projection is about as large as one without it.

P does not take into account that the gradient of a cell half as long is half as large.
Second moments remember the old size, so Adam's updates are smaller by the factor of a
refinement until they forget it, after some 1 / (1 - beta_2) updates.
"""

import keras
import numpy as np

from cnet_tf.checks import finite_values
from cnet_tf.optimizer_twin import held, parts, twin
from cnet_tf.slot_rules import RULES, Mapped
from cnet_tf.slot_table import rules, slot_lists


def carry_over(optimizer, old_variables, new_variables, matrices):
    """Returns an optimizer of the new variables that resumes where the old one stands.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, built on `old_variables`. It is not
            changed.
        old_variables: Trainable `keras.Variable`s: all that the optimizer was built on.
            A variable with several successors is listed once for each.
        new_variables: Their successors, in the same order.
        matrices: For each variable, P of shape (K', K), float64, with
            theta' = P theta along the first axis; or None where it is unchanged.

    Returns:
        A new optimizer of the same class and settings, built on `new_variables`, with
        the old counters, learning rate and loss scale, and slots mapped by P.

    Raises:
        ValueError: no optimizer built on these variables, a class or a slot that is
            not in the table, matrices that do not fit, or non-finite values.
        RuntimeError: the new optimizer lacks slots of the new variables; it would
            silently train others.
    """
    old_variables, new_variables = list(old_variables), list(new_variables)
    _require_built(optimizer, old_variables)
    _require_fit(old_variables, new_variables, matrices)
    slots(optimizer)  # refuses what it does not know
    new = twin(optimizer, old_variables, new_variables)
    origins = {
        id(new_one): origin
        for new_one, *origin in zip(new_variables, old_variables, matrices, strict=True)
    }
    for old_part, new_part in zip(parts(optimizer), parts(new), strict=True):
        places = {id(old): i for i, old in enumerate(held(old_part))}
        heirs = [v for v in new_variables if id(origins[id(v)][0]) in places]
        _require_held(new_part, heirs)
        _copy_counters(old_part, new_part)
        rows = [(places[id(old)], m) for old, m in (origins[id(v)] for v in heirs)]
        _map_slots(old_part, new_part, rows)
    return new


def slots(optimizer, rule: str | None = None) -> list:
    """Returns the variables that an optimizer keeps for the weights it was built on.

    Args:
        optimizer: A built `keras.optimizers.Optimizer`.
        rule: A key of `RULES`, to return only slots of that rule: `"momentum"` selects
            those that a reset sets to zero. Default: all.

    Raises:
        ValueError: a class or a variable that is not in the table.
    """
    return [
        slot
        for part in parts(optimizer)
        for name, row in slot_lists(part).items()
        for slot in row
        if slot is not None and rule in (None, rules(part)[name])
    ]


def _copy_counters(old_part, new_part):
    for name, rule in rules(old_part).items():
        counter = getattr(old_part, name, None)
        if rule == "copy" and isinstance(counter, keras.Variable):
            getattr(new_part, name).assign(finite_values(counter))


def _map_slots(old_part, new_part, origins):
    """Fills the slots of one optimizer, but not those of optimizers that it wraps.

    Args:
        old_part, new_part: Optimizers of the same class.
        origins: For each variable of the new optimizer, in order, the place of its
            origin in the old one, and P or None.
    """
    table, weights = rules(old_part), held(old_part)
    old_slots, new_slots = slot_lists(old_part), slot_lists(new_part)
    for i, (place, matrix) in enumerate(origins):
        weight = weights[place]
        values = {
            name: finite_values(row[place])
            for name, row in old_slots.items()
            if row[place] is not None
        }
        present = {name for name, row in new_slots.items() if row[i] is not None}
        if present != set(values):
            raise RuntimeError(
                f"optimizer: expected the slots {sorted(values)} for {weight.path}. "
                f"Received {sorted(present)}."
            )
        if matrix is not None:
            exact = {name: v.astype("float64") for name, v in values.items()}
            mapped = Mapped(np.asarray(matrix), exact, weight, old_part)
            values = {name: RULES[table[name]](mapped, name) for name in values}
        for name, value in values.items():
            new_slots[name][i].assign(value)


def _same(some, others):
    return [id(v) for v in some] == [id(v) for v in others]


def _require_held(optimizer, variables):
    if not _same(held(optimizer), variables):
        raise RuntimeError(
            f"optimizer: expected the new {type(optimizer).__name__} to hold the "
            f"{len(variables)} new variables. Received one that holds others."
        )


def _require_built(optimizer, variables):
    expected = "optimizer: expected a keras.optimizers.Optimizer built on the old "
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(f"{expected}variables. Received {optimizer!r}.")
    kind = type(optimizer).__name__
    if not optimizer.built:
        raise ValueError(
            f"{expected}variables. Received a {kind} that is not built: call "
            "optimizer.build(net.trainable_variables) first."
        )
    if not _same(held(optimizer), list({id(v): v for v in variables}.values())):
        raise ValueError(
            f"{expected}variables. Received a {kind} built on others: build it on "
            "the current net.trainable_variables."
        )


def _require_fit(old_variables, new_variables, matrices):
    if not len(old_variables) == len(new_variables) == len(matrices):
        raise ValueError(
            "new_variables, matrices: expected as many as old_variables, "
            f"{len(old_variables)}. Received {len(new_variables)} and {len(matrices)}."
        )
    rows = zip(old_variables, new_variables, matrices, strict=True)
    for i, (old, new, matrix) in enumerate(rows):
        if not _fits(tuple(old.shape), tuple(new.shape), matrix):
            received = "None" if matrix is None else f"shape {np.shape(matrix)}"
            raise ValueError(
                f"matrices[{i}]: expected a map from shape {tuple(old.shape)} to "
                f"{tuple(new.shape)} along the first axis. Received {received}."
            )


def _fits(old_shape, new_shape, matrix):
    if matrix is None:
        return old_shape == new_shape
    sizes = new_shape[:1] + old_shape[:1]
    return np.shape(matrix) == sizes and new_shape[1:] == old_shape[1:]
