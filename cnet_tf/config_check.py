"""Refuses untrusted Keras configs that could run foreign code or work endlessly.

Nothing is built here; the config is read as data.
"""

import re

import keras

from cnet_tf import bounds
from cnet_tf.tableaus import SCHEMES

# The Keras modules with everything that a model may consist of.
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
# Names that TensorFlow accepts as graph scopes; files are named after models, too.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.>-]{0,199}")
# For models in models: each level takes some forty Python calls.
_DEPTH = 100


def check(config):
    """Refuses a config that names foreign classes or asks for too much.

    Args:
        config: Config of a model, from JSON.

    Raises:
        ValueError: a class that is neither from Keras nor from this package, or one
            that runs code; a number out of bounds; more work than is allowed.
    """
    settings = []
    _collect("config", config, 0, settings)
    for _, value in settings:
        if isinstance(value, dict):
            _check_class(value)
            _check_name(value)
    bounds.check(settings)
    work = _work(config)
    if work > bounds.MOST_WORK:
        raise ValueError(
            f"steps and layers: expected at most {bounds.MOST_WORK:,} layer "
            f"evaluations per example. Received {work:,}."
        )


def _collect(name, value, depth, settings):
    """Lists all settings with their names, parents first."""
    if depth > _DEPTH:
        raise ValueError(f"expected at most {_DEPTH} levels. Received more.")
    settings.append((name, value))
    if isinstance(value, dict):
        for key, part in value.items():
            _collect(key, part, depth + 1, settings)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _collect("a number in a list", part, depth + 1, settings)


def _check_name(config):
    name = config.get("name")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        raise ValueError(
            "name: expected at most 200 letters, digits and any of ._->, with a letter "
            f"or digit first. Received {name!r}: rename that layer."
        )


def _check_class(config):
    if "class_name" not in config:
        return
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
    """Returns `<class>`, with the name of the layer if it has one."""
    config, kind = entry.get("config"), entry["class_name"]
    if isinstance(config, str):  # A function, given by its name.
        return f"{kind} {config!r}"
    name = config.get("name") if isinstance(config, dict) else None
    return f"{kind} {name!r}" if isinstance(name, str) else str(kind)


def _work(config) -> int:
    """Counts layer evaluations per example: models in models and steps multiply."""
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
        # Without steps, N is the number of cells of the basis, at most `MOST_STEPS`.
        inside *= stages * (settings.get("steps") or bounds.MOST_STEPS)
    nodes = config.get("inbound_nodes")
    calls = len(nodes) if isinstance(nodes, list) else 1
    return max(1, calls) * (1 + inside)
