"""A fresh layer with the settings of another, in the same process.

Of a function of the user's own, Keras' configs keep a name, which may be that of a
function of Keras: so functions go over as they are. Nothing leaves the process, so what
is in no config, as the code of a `Lambda`, need not be there.
"""

import keras

LOOKUPS = (
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)
# Without weights, and with more than their configs say: both nets have the very same.
_SHARED = (keras.layers.Lambda, *LOOKUPS)


def fresh(layer, **changes):
    """A layer, or operation, of the same class and settings, which is not built.

    Args:
        layer: Any layer but a model, or an operation of a functional model.
        changes: Entries of its config to change, where it has them.

    Returns:
        A new one, but of lookups and `Lambda` layers the layer itself.
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
        # A recurrent layer shows the settings of its cell.
        holder = twin if key in vars(twin) else getattr(twin, "cell", twin)
        setattr(holder, key, function)
    return twin


def _own_functions(layer, config) -> dict:
    """Settings that are functions which are not of Keras, by their names."""
    found = {key: getattr(layer, key, None) for key in config}
    return {
        key: value
        for key, value in found.items()
        if callable(value)
        and hasattr(value, "__name__")
        and not isinstance(value, type)
        and (value.__module__ or "").partition(".")[0] != "keras"
    }
