"""A new optimizer with the settings of another, built on other variables.

The private parts of an optimizer that are read here: the variables it was built on, its
learning rate as an object, the map of a MultiOptimizer, and what it does not decay.
"""

import keras


def held(optimizer) -> list:
    """Returns the variables that an optimizer was built on, in order."""
    return list(optimizer._trainable_variables)


def inner(optimizer) -> list:
    """Returns the optimizers that a LossScaleOptimizer or a MultiOptimizer wraps."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return [optimizer.inner_optimizer]
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return list(optimizer.optimizers)
    return []


def parts(optimizer) -> list:
    """Returns an optimizer and all that it wraps, in a fixed order."""
    return [optimizer, *(p for one in inner(optimizer) for p in parts(one))]


def twin(optimizer, old_variables, new_variables):
    """Builds an optimizer of the new variables: same settings, new slots, iteration 0.

    Args:
        optimizer: A `keras.optimizers.Optimizer`.
        old_variables, new_variables: Exclusions from weight decay are translated from
            the former to the latter.

    Raises:
        ValueError: a MultiOptimizer that asks a function for its optimizers.
    """
    new = _unbuilt(optimizer)
    for old_part, new_part in zip(parts(optimizer), parts(new), strict=True):
        _copy_exclusions(old_part, new_part, old_variables, new_variables)
    new.build(new_variables)
    return new


def _unbuilt(optimizer):
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        config["inner_optimizer"] = _unbuilt(optimizer.inner_optimizer)
        return type(optimizer)(**config)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        config["optimizer_map"] = _unbuilt_map(optimizer)
        return type(optimizer)(**config)
    if not isinstance(optimizer._learning_rate, keras.Variable):
        # A schedule or a function: the object itself, which may have no config.
        config["learning_rate"] = optimizer._learning_rate
    return type(optimizer).from_config(config)


def _unbuilt_map(optimizer):
    """Returns the map with new optimizers; one shared by several patterns stays so."""
    old = optimizer._optimizer_map
    if not isinstance(old, keras.optimizers.OptimizerMap):
        raise ValueError(
            "optimizer: expected a MultiOptimizer with an OptimizerMap. Received one "
            f"with a {type(old).__name__}, which knows only the old optimizers: give "
            "patterns of paths instead."
        )
    twins = {id(one): _unbuilt(one) for one in optimizer.optimizers}
    patterns = {pattern: twins[id(one)] for pattern, one in old.items()}
    return type(old)(twins[id(old.default_optimizer)], patterns)


def _copy_exclusions(old, new, old_variables, new_variables):
    keys = getattr(old, "_exclude_from_weight_decay", ())
    pattern = getattr(old, "_exclude_from_weight_decay_pattern", None)
    if keys or pattern:
        pairs = zip(old_variables, new_variables, strict=True)
        new.exclude_from_weight_decay(
            var_list=[target for v, target in pairs if old._var_key(v) in keys],
            var_names=[pattern.pattern] if pattern else None,
        )
