"""Models as plain data: layers, settings and connections, without weights.

Only classes of Keras and of this package are made from such data, by name. Neither
pickle, nor Python code, nor a path to either is involved.
"""

import concurrent.futures
import contextvars
import copy
import math
import re

import keras

from cnet_tf import bounds
from cnet_tf.lifted_layer import is_graph, layers_of, without_draws
from cnet_tf.paths import named_layers, named_variables
from cnet_tf.tableaus import SCHEMES

# Where Keras keeps what a model may consist of.
_MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.ops",
    "keras.regularizers",
    "keras.src.models.functional",
)
_OURS = "cnet_tf"
# Classes that run code or read files.
_REFUSED = (
    "Lambda",
    "__lambda__",
    "FlaxLayer",
    "JaxLayer",
    "TFSMLayer",
    "TorchModuleWrapper",
)
# What TensorFlow takes as a scope of a graph; files are named after models, too.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.>-]{0,199}")
# Of models in models: each level takes some forty calls of Python.
_DEPTH = 100


def described(model) -> dict:
    """A functional or Sequential model as data for JSON, see `rebuilt`."""
    return {
        "config": _uncompiled(keras.saving.serialize_keras_object(model)),
        # Models within a model do not keep this in their configs.
        "frozen": [
            path for path, layer in named_layers(model).items() if not layer.trainable
        ],
    }


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


def rebuilt(description: dict, dtype: str | None = None) -> keras.Model:
    """The model of a description, with weights that mean nothing.

    Args:
        description: From `described`.
        dtype: Policy of all layers instead of their own.

    Raises:
        ValueError: a class that is neither of Keras nor of this package, or one that
            runs code; a number out of its bounds; more work than there may be.
    """
    config = _uncompiled(copy.deepcopy(description["config"]))
    check(config)
    if dtype is not None:
        _set_policy(config, dtype)
    with without_draws():  # Whoever asks has the weights.
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    frozen = set(description["frozen"])
    for path, layer in named_layers(model).items():
        trainable = path not in frozen
        if layer.trainable != trainable:
            layer.trainable = trainable
    return model


def shapes(description: dict) -> dict[str, tuple]:
    """The shapes of the variables of a description by path; takes no memory for them.

    Raises:
        ValueError: see `rebuilt`.
    """

    def found():
        model = rebuilt(description)
        _check_elements(model)
        return {path: tuple(v.shape) for path, v in named_variables(model).items()}

    return _without_values(found)


def numbers(config: dict) -> int:
    """Counts the numbers in the variables of a config of Keras, as `shapes` does.

    Raises:
        ValueError: see `rebuilt`.
    """

    def found():
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        _check_elements(model)
        return sum(math.prod(v.shape) for v in model.variables)

    with without_draws():
        return _without_values(found)


def _without_values(function):
    """The result of a function whose variables are made without values."""

    def call():
        with keras.StatelessScope(initialize_variables=False):
            return function()

    # Keras remembers variables that wait for values, thread by thread: those of this
    # thread end with it.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, call).result()


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
    return twin


def in_precision(model, policy: str) -> keras.Model:
    """The model itself if its layers have that policy, else such a copy.

    Under a mixed policy some may have the precision of the weights: heads have.
    """
    allowed = {policy, keras.DTypePolicy(policy).variable_dtype}
    found = {layer.dtype_policy.name for layer in layers_of(model)}
    return model if policy in found <= allowed else copied(model, policy)


def check(config):
    """Refuses a config of Keras that names foreign classes, or asks for too much.

    Raises:
        ValueError: see `rebuilt`.
    """
    _check_part(config, 0)
    work = _work(config)
    if work > bounds.MOST_WORK:
        raise ValueError(
            f"steps and layers: expected at most {bounds.MOST_WORK:,} evaluations of "
            f"layers for an example. Received {work:,}."
        )


def _check_part(config, depth):
    if depth > _DEPTH:
        raise ValueError(f"expected at most {_DEPTH} levels. Received more.")
    if isinstance(config, (list, tuple)):
        for value in config:
            if not isinstance(value, (list, tuple, dict)):
                bounds.check("a number in a list", value)
            _check_part(value, depth + 1)
    if not isinstance(config, dict):
        return
    if "class_name" in config:
        _check_class(config)
    name = config.get("name")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        raise ValueError(
            "name: expected at most 200 letters, digits and any of ._->, with a letter "
            f"or digit first. Received {name!r}: rename that layer."
        )
    for key, value in config.items():
        bounds.check(key, value)
        _check_part(value, depth + 1)


def _work(config) -> int:
    """Evaluations of layers for an example: models in models and steps multiply."""
    if isinstance(config, (list, tuple)):
        return sum(map(_work, config))
    if not isinstance(config, dict):
        return 0
    inside = sum(
        _work(value) for key, value in config.items() if key != "inbound_nodes"
    )
    if "class_name" not in config:
        return inside
    settings = config.get("config")
    if config["class_name"] == "ContinuousBlock" and isinstance(settings, dict):
        scheme = SCHEMES.get(str(settings.get("scheme")))
        stages = scheme.stages if scheme else 1
        # Without steps they are the cells of the basis.
        inside *= stages * (settings.get("steps") or bounds.MOST_STEPS)
    nodes = config.get("inbound_nodes")
    calls = len(nodes) if isinstance(nodes, list) else 1
    return max(1, calls) * (1 + inside)


def _check_elements(model):
    """Refuses a model whose layers make more numbers of an example than may be."""
    for layer in filter(is_graph, layers_of(model)):
        for part in layer.layers:
            try:
                outputs = keras.tree.flatten(part.output)
            except (AttributeError, ValueError):  # Called often, or never.
                continue
            for x in outputs:
                bounds.check_elements(part.name, x.shape)


def _check_class(config):
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    known = (
        module in _MODULES
        or str(module).startswith("keras.src.ops.")
        or (module is None and str(name).startswith("__"))
        or (_is_ours(module) and registered in keras.saving.get_custom_objects())
    )
    if not known or name in _REFUSED:
        raise ValueError(
            "expected layers of Keras and cnet_tf, none of which holds code. Received "
            f"{_label(config)}: write that part with layers of Keras, as a functional "
            "or Sequential model."
        )


def _is_ours(module) -> bool:
    return str(module).partition(".")[0] == _OURS


def _label(entry) -> str:
    """`<class>`, with the name of the layer if it has one."""
    config, kind = entry.get("config"), entry["class_name"]
    if isinstance(config, str):  # A function, by its name.
        return f"{kind} {config!r}"
    name = config.get("name") if isinstance(config, dict) else None
    return f"{kind} {name!r}" if isinstance(name, str) else str(kind)


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
