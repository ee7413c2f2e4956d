"""Models as plain data: layers, settings and connections, without weights.

Only classes of Keras and of this package are built from such data, by name. No pickle,
no Python code and no path to either is involved.
"""

import concurrent.futures
import contextvars
import copy
import json
import math
from collections.abc import Callable

import keras

from cnet_tf import bounds
from cnet_tf.adapted import check_described, settle
from cnet_tf.config_check import check
from cnet_tf.lifted_layer import without_draws
from cnet_tf.model_graph import is_graph, layers_of
from cnet_tf.paths import named_layers, named_variables


def described(model) -> dict:
    """Returns a functional or Sequential model as data for JSON; see `rebuilt`.

    Raises:
        ValueError: a layer's vocabulary is in no config; see `check_described`.
    """
    for layer in layers_of(model):
        check_described(layer)
    return {
        "config": _uncompiled(keras.saving.serialize_keras_object(model)),
        # Nested models do not keep this in their configs.
        "frozen": [
            path for path, layer in named_layers(model).items() if not layer.trainable
        ],
        **_frozen_weights(model),
    }


def _frozen_weights(model) -> dict:
    """Lists frozen weights of layers that are not frozen; rare, so left out if none."""
    # No public list has them: `trainable_variables` leaves frozen weights out.
    frozen = {
        id(weight)
        for layer in layers_of(model)
        if isinstance(layer, keras.layers.Layer) and layer.trainable
        for weight in layer._trainable_variables
        if not weight.trainable
    }
    paths = [path for path, v in named_variables(model).items() if id(v) in frozen]
    return {"frozen_weights": paths} if paths else {}


def _uncompiled(config):
    """Returns a config without losses and optimizers, which are not part of a net."""
    if isinstance(config, list):
        return [_uncompiled(value) for value in config]
    if not isinstance(config, dict):
        return config
    model = "class_name" in config
    return {
        key: {} if model and key == "compile_config" else _uncompiled(value)
        for key, value in config.items()
    }


def readable(model) -> dict:
    """Returns what `described` does, after checking that `rebuilt` will accept it.

    Raises:
        ValueError: `rebuilt` would refuse it; see there.
    """
    description = described(model)
    check(json.loads(json.dumps(description["config"])))
    bounds.check_elements(_outputs(model))
    return description


def rebuilt(
    description: dict, dtype: str | None = None, fits: Callable | None = None
) -> keras.Model:
    """Builds the model of a description, with meaningless weights.

    Args:
        description: From `described`.
        dtype: Policy of all layers, instead of their own.
        fits: Called with the shapes of the variables by path before memory is allocated
            for them; it may raise. Default: not called.

    Raises:
        ValueError: see `config_check.check`.
    """
    config = _uncompiled(description["config"])
    check(config)
    if dtype is not None:
        _set_policy(config, dtype)
    if fits is not None:
        fits(_without_values(config, _shapes))
    model = _made(config)
    frozen = set(description["frozen"])
    for path, layer in named_layers(model).items():
        trainable = path not in frozen
        if layer.trainable != trainable:
            layer.trainable = trainable
    if weights := description.get("frozen_weights"):
        variables = named_variables(model)
        for path in weights:
            variables[path].trainable = False
    return model


def numbers(config: dict) -> int:
    """Counts the numbers in the variables of a config without allocating them.

    Args:
        config: A Keras config that passes `config_check.check`.

    Raises:
        ValueError: a layer's output has too many numbers per example.
    """
    return _without_values(
        config, lambda model: sum(math.prod(v.shape) for v in model.variables)
    )


def _made(config) -> keras.Model:
    with without_draws():  # The caller has the weights.
        return keras.saving.deserialize_keras_object(
            copy.deepcopy(config), safe_mode=True
        )


def _shapes(model) -> dict[str, tuple]:
    return {path: tuple(v.shape) for path, v in named_variables(model).items()}


def _without_values(config, found):
    """Returns found(model) for the model of a config, made without variable values."""

    def call():
        with keras.StatelessScope(initialize_variables=False):
            model = _made(config)
            bounds.check_elements(_outputs(model))
            return found(model)

    # Keras remembers variables that await values, separately for each thread: those of
    # this thread are forgotten when it ends.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, call).result()


def _outputs(model):
    """Yields (name, shape) of every layer output in a model."""
    for layer in filter(is_graph, layers_of(model)):
        for part in layer.layers:
            try:
                outputs = keras.tree.flatten(part.output)
            except (AttributeError, ValueError):  # Called several times, or never.
                continue
            yield from ((part.name, x.shape) for x in outputs)


def copied(model, dtype: str | None = None, input_shape=None) -> keras.Model:
    """Returns a copy of the model with variables of its own.

    Args:
        model: A functional or Sequential model of one input.
        dtype: Policy of all layers, instead of their own.
        input_shape: Input shape without the batch, instead of one with free sizes.
    """
    description = described(model)
    if input_shape is not None:
        (layer,) = (
            layer
            for layer in description["config"]["config"]["layers"]
            if layer["class_name"] == "InputLayer"
        )
        layer["config"]["batch_shape"] = [None, *input_shape]
    twin = rebuilt(description, dtype)
    for new, old in zip(twin.variables, model.variables, strict=True):
        new.assign(keras.ops.cast(old, new.dtype))
    settle(twin)
    return twin


def in_precision(model, policy: str) -> keras.Model:
    """Returns the model itself if its layers have that policy, else a copy with it.

    Under a mixed policy some layers may have the precision of the weights, as heads do.
    """
    allowed = {policy, keras.DTypePolicy(policy).variable_dtype}
    found = {layer.dtype_policy.name for layer in layers_of(model)}
    return model if policy in found <= allowed else copied(model, policy)


def _set_policy(config, dtype):
    if isinstance(config, list):
        for value in config:
            _set_policy(value, dtype)
    elif isinstance(config, dict):
        for key, value in config.items():
            if key == "dtype" and isinstance(value, dict):
                config[key] = dtype
            elif key == "dtype" and str(value).endswith(("float16", "float64")):
                config[key] = keras.DTypePolicy(dtype).compute_dtype  # A tensor's.
            else:
                _set_policy(value, dtype)
