"""A fresh layer with the settings of another, in the same process.

Keras' configs keep only the name of a function, which may be that of another function
of Keras, and no partial functions at all. Here the function objects themselves are
passed on. Nothing leaves the process, so it does not matter that configs lack some
things, such as a `Lambda`'s code.
"""

import keras

from cnet_tf.model_graph import hidden_in, layers_of

LOOKUPS = (
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)
# Without weights, and with more than their configs tell: both nets share the object.
_SHARED = (keras.layers.Lambda, *LOOKUPS)


def fresh(layer, /, **changes):
    """Returns an unbuilt layer, or an operation, of the same class and settings.

    Args:
        layer: Any layer but a model, or an operation of a functional model.
        changes: Entries of its config to change, where it has them.

    Returns:
        A new one; for lookups and `Lambda` layers, the layer itself.
    """
    if isinstance(layer, _SHARED):
        return layer
    config, known = settings(layer)
    changed = {key: changes.get(key, value) for key, value in config.items()}
    with keras.saving.custom_object_scope(known):
        return type(layer).from_config(changed)


def settings(layer) -> tuple[dict, dict]:
    """Returns the config of a layer or operation, and the functions that it names.

    The functions of a layer, of those it wraps and of its cells have names in the
    config that no other function has.
    """
    held = [one for part in _parts(layer) for one in _functions(part)]
    known = {f"function_{i}_of_a_layer": found for i, (*_, found) in enumerate(held)}
    try:
        for (part, key, found), name in zip(held, known, strict=True):
            setattr(part, key, _named(found, name))
        return layer.get_config(), known
    finally:
        for part, key, function in held:
            setattr(part, key, function)


def _parts(layer):
    for part in layers_of(layer):
        yield part
        for one in hidden_in(part):
            yield from layers_of(one)


def _functions(part):
    # Keras' own objects that can be called, such as initializers, have a config.
    return [
        (part, key, value)
        for key, value in vars(part).items()
        if callable(value)
        and not isinstance(value, (type, keras.layers.Layer))
        and not hasattr(value, "get_config")
        and not hasattr(type(part), key)  # Not a method that Keras has wrapped.
        and not key.startswith("_")
    ]


def _named(function, name):
    """Returns a function that does the same, as another thread may call the layer."""

    def call(*args, **kwargs):
        return function(*args, **kwargs)

    call.__name__ = name
    return call
