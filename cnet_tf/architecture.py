"""Models as plain data: layers, settings and connections, without weights.

Only classes of Keras and of this package are made from such data, by name. Neither
pickle, nor Python code, nor a path to either is involved.
"""

import concurrent.futures
import copy

import keras

from cnet_tf.lifted_layer import layers_of
from cnet_tf.paths import named_layers, named_variables

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
_REFUSED = ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper")
# The most that K and N may be: a description alone could ask for endless work.
_MOST = {"nodes": 1024, "steps": 1024}
_DEPTH = 100


def described(model) -> dict:
    """A functional or Sequential model as data for JSON, see `rebuilt`."""
    return {
        "config": keras.saving.serialize_keras_object(model),
        # Models within a model do not keep this in their configs.
        "frozen": [
            path for path, layer in named_layers(model).items() if not layer.trainable
        ],
    }


def rebuilt(description: dict, dtype: str | None = None) -> keras.Model:
    """The model of a description, with fresh weights.

    Args:
        description: From `described`.
        dtype: Policy of all layers instead of their own.

    Raises:
        ValueError: a class that is neither of Keras nor of this package, or one that
            runs code; a number out of range.
    """
    check(description["config"])
    config = copy.deepcopy(description["config"])
    if dtype is not None:
        _set_policy(config, dtype)
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

    def without_values():
        with keras.StatelessScope(initialize_variables=False):
            variables = named_variables(rebuilt(description))
            return {path: tuple(v.shape) for path, v in variables.items()}

    # Keras remembers variables that wait for values, thread by thread: those of this
    # thread end with it.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(without_values).result()


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


def check(config, depth=0):
    """Refuses a config of Keras that names foreign classes, or asks for too much.

    Raises:
        ValueError: see `rebuilt`.
    """
    if depth > _DEPTH:
        raise ValueError(f"expected at most {_DEPTH} levels. Received more.")
    if isinstance(config, (list, tuple)):
        for value in config:
            check(value, depth + 1)
    if not isinstance(config, dict):
        return
    if "class_name" in config:
        _check_class(config)
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        most = _MOST.get(key)
        if most and any(isinstance(n, (int, float)) and n > most for n in numbers):
            raise ValueError(f"{key}: expected at most {most}. Received {value}.")
        check(value, depth + 1)


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
