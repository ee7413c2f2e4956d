"""The layers of a Keras model, and models of the same graph with other layers.

for layer in layers_of(model): ...
twin = cloned(model, lambda layer: other(layer))

A lifted layer hides its pattern, the layer whose settings it has; see `pattern_of`.
"""

import contextlib
import functools

import keras

from cnet_tf.compiled import compile_like, fresh_metric


def is_graph(layer) -> bool:
    """Tells if a layer is a functional or Sequential model, whose layers are known."""
    # Not a subclass, whose `call` may do more. A functional model has the class that
    # `keras.Model(inputs, outputs)` makes.
    return type(layer) is keras.Sequential or (
        isinstance(layer, keras.Model) and type(layer) is _functional()
    )


@functools.cache
def _functional() -> type:
    """Returns that class, on demand: an import makes no models and takes no names."""
    x = keras.Input((1,), name="probe_input")
    return type(keras.Model(x, x, name="probe"))


def cloned(model, part, dtype=None):
    """Clones a functional or Sequential model, with `part(layer)` for each layer.

    Unlike `keras.models.clone_model` alone, this keeps the names of the inputs, and
    compiles the clone with the very losses, and with metrics and an optimizer like the
    model's; not at all if one of these is the user's own, such as a schedule, and Keras
    keeps only a name of it.

    Args:
        model: The model.
        part: Maps a layer to the one that replaces it.
        dtype: Dtype of its float inputs. Default: unchanged.
    """
    inputs = None if isinstance(model, keras.Sequential) else inputs_like(model, dtype)
    compiled, model.compiled = model.compiled, False
    try:
        new = keras.models.clone_model(model, inputs, clone_function=part)
    finally:
        model.compiled = compiled
    if compiled:
        with contextlib.suppress(TypeError, ValueError, NotImplementedError):
            old = model.optimizer
            optimizer = old and type(old).from_config(old.get_config())
            compile_like(new, model, optimizer, fresh_metric)
            if optimizer:
                optimizer.build(new.trainable_variables)
    return new


def inputs_like(model, dtype=None):
    """Returns new inputs like a functional or Sequential model's, with their names."""
    inputs = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    return keras.tree.map_structure(
        lambda x: keras.Input(
            batch_shape=x.shape,
            dtype=dtype if dtype and "float" in x.dtype else x.dtype,
            sparse=x.sparse,
            ragged=x.ragged,
            optional=getattr(inputs.get(id(x)), "optional", False),
            name=getattr(inputs.get(id(x)), "name", x.name),
        ),
        model.inputs[0] if isinstance(model, keras.Sequential) else model.input,
    )


def layers_of(model):
    """Lists all layers in a model or layer, at any depth, in a fixed order.

    Models come before their layers. A layer that occurs twice is listed once.
    """
    found, seen = [], set()

    def visit(layer):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        found.append(layer)
        for child in children(layer):
            visit(child)

    visit(model)
    return found


def children(layer) -> list:
    """Lists the layers directly within a layer or model, in a fixed order."""
    if isinstance(layer, keras.Model):
        return layer.layers
    if not isinstance(layer, keras.layers.Layer):
        return []  # An operation of a functional model: `x + y`, or one of a mask.
    # Keras lists the layers of models only. There is no public way to the parts of a
    # layer that someone else wrote, but its norms must not be missed.
    return layer._flatten_layers(include_self=False, recursive=False)


class Untracked:
    """Hides a layer from Keras: its weights are not the owner's."""

    def __init__(self, layer):
        self.layer = layer


def hidden_in(layer) -> list:
    """Lists the layers that a layer hides from Keras."""
    return [x.layer for x in vars(layer).values() if isinstance(x, Untracked)]


def pattern_of(layer):
    """Returns the layer whose settings a layer has: itself unless it is lifted."""
    pattern = getattr(layer, "_pattern", None)
    return pattern.layer if isinstance(pattern, Untracked) else layer
