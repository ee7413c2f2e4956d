"""Models as plain data: layers, settings and connections, without weights.

Only classes of Keras and of this package are made from such data, by name. Neither
pickle, nor Python code, nor a path to either is involved.
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
    """A functional or Sequential model as data for JSON, see `rebuilt`.

    Raises:
        ValueError: a layer whose vocabulary is in no config, see `check_described`.
    """
    for layer in layers_of(model):
        check_described(layer)
    return {
        "config": _uncompiled(keras.saving.serialize_keras_object(model)),
        # Models within a model do not keep this in their configs.
        "frozen": [
            path for path, layer in named_layers(model).items() if not layer.trainable
        ],
        **_frozen_weights(model),
    }


def _frozen_weights(model) -> dict:
    """Weights that are frozen where their layer is not; rare, so left out if none."""
    # No public list has them: a frozen weight is not among `trainable_variables`.
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
    """A config without losses and optimizers, which are no part of a net."""
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
    """What `described` says, of a model that `rebuilt` will take.

    Raises:
        ValueError: it would not, see there.
    """
    description = described(model)
    check(json.loads(json.dumps(description["config"])))
    bounds.check_elements(_outputs(model))
    return description


def rebuilt(
    description: dict, dtype: str | None = None, fits: Callable | None = None
) -> keras.Model:
    """The model of a description, with weights that mean nothing.

    Args:
        description: From `described`.
        dtype: Policy of all layers instead of their own.
        fits: Called with the shapes of its variables by path, before memory is taken
            for them, to raise what it likes. Default: not called.

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
    """Counts the numbers in the variables of a config, without memory for them.

    Args:
        config: Of Keras; `config_check.check` has to pass.

    Raises:
        ValueError: more numbers of an example than there may be.
    """
    return _without_values(
        config, lambda model: sum(math.prod(v.shape) for v in model.variables)
    )


def _made(config) -> keras.Model:
    with without_draws():  # Whoever asks has the weights.
        return keras.saving.deserialize_keras_object(
            copy.deepcopy(config), safe_mode=True
        )


def _shapes(model) -> dict[str, tuple]:
    return {path: tuple(v.shape) for path, v in named_variables(model).items()}


def _without_values(config, found):
    """A function of the model of a config, whose variables are made without values."""

    def call():
        with keras.StatelessScope(initialize_variables=False):
            model = _made(config)
            bounds.check_elements(_outputs(model))
            return found(model)

    # Keras remembers variables that wait for values, thread by thread: those of this
    # thread end with it.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, call).result()


def _outputs(model):
    """(name, shape) of all that the layers of a model make of an example."""
    for layer in filter(is_graph, layers_of(model)):
        for part in layer.layers:
            try:
                outputs = keras.tree.flatten(part.output)
            except (AttributeError, ValueError):  # Called often, or never.
                continue
            yield from ((part.name, x.shape) for x in outputs)


def copied(model, dtype: str | None = None, input_shape=None) -> keras.Model:
    """The model with variables of its own.

    Args:
        model: A functional or Sequential model of one input.
        dtype: Policy of all layers instead of their own.
        input_shape: Without the batch, instead of one with free sizes.
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
    """The model itself if its layers have that policy, else such a copy.

    Under a mixed policy some may have the precision of the weights: heads have.
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
                config[key] = keras.DTypePolicy(dtype).compute_dtype  # Of a tensor.
            else:
                _set_policy(value, dtype)
