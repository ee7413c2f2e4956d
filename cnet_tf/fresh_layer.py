"""A fresh layer with the settings of another, in the same process.

Keras' configs keep only the name of a user's own function, and a Keras function may
have the same name, so the function objects themselves are passed on. Nothing leaves the
process, so it does not matter that configs lack some things, such as a `Lambda`'s code.
"""

import keras

LOOKUPS = (
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)
# Without weights, and with more than their configs tell: both nets share the object.
_SHARED = (keras.layers.Lambda, *LOOKUPS)


def fresh(layer, **changes):
    """Returns an unbuilt layer, or an operation, of the same class and settings.

    Args:
        layer: Any layer but a model, or an operation of a functional model.
        changes: Entries of its config to change, where it has them.

    Returns:
        A new one; for lookups and `Lambda` layers, the layer itself.
    """
    if isinstance(layer, _SHARED):
        return layer
    config = layer.get_config()
    own = _own_functions(layer, config)
    known = {function.__name__: function for function in own.values()}
    changed = {key: changes.get(key, value) for key, value in config.items()}
    with keras.saving.custom_object_scope(known):
        twin = type(layer).from_config(changed)
    for key, function in own.items():
        # A recurrent layer exposes the settings of its cell.
        holder = twin if key in vars(twin) else getattr(twin, "cell", twin)
        setattr(holder, key, function)
    return twin


def _own_functions(layer, config) -> dict:
    """Returns the settings that are functions from outside Keras, by setting."""
    found = {key: getattr(layer, key, None) for key in config}
    return {
        key: value
        for key, value in found.items()
        if callable(value)
        and hasattr(value, "__name__")
        and not isinstance(value, type)
        and (value.__module__ or "").partition(".")[0] != "keras"
    }
