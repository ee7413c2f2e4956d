"""Nets by name, as data: the class and its constructor arguments."""

import difflib

from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.net import Net
from cnet_tf.resnet import ResNet

_CLASSES = {"ContinuousNet": ContinuousNet, "ResNet": ResNet}

_CIFAR10 = {"class": "ContinuousNet", "classes": 10, "widths": (16, 32, 64)}
_WIDE = {"classes": 100, "widths": (64, 128, 256), "stem_width": 16}

PRESETS: dict[str, dict] = {
    "digits": {
        "class": "ContinuousNet",
        "classes": 10,
        "widths": (8, 16, 32),
        "nodes": 1,
        "scheme": "rk4",
    },
    "cifar10_1-1-1_rk4": {**_CIFAR10, "nodes": 1, "scheme": "rk4"},
    "cifar10_2-2-2_euler": {**_CIFAR10, "nodes": 2, "scheme": "euler"},
    "cifar10_2-2-2_rk4": {**_CIFAR10, "nodes": 2, "scheme": "rk4"},
    "cifar10_2-2-2_pre_rk4": {**_CIFAR10, "nodes": 2, "scheme": "rk4", "unit": "pre"},
    "cifar10_2-2-2_stateful": {
        **_CIFAR10,
        "nodes": 2,
        "scheme": "rk4",
        "unit": "post_bias_free",
    },
    "cifar10_8-8-8_euler": {**_CIFAR10, "nodes": 8, "scheme": "euler"},
    "cifar10_8-8-8_rk4": {**_CIFAR10, "nodes": 8, "scheme": "rk4"},
    "cifar10_8-8-8_pre_rk4": {**_CIFAR10, "nodes": 8, "scheme": "rk4", "unit": "pre"},
    "cifar10_8-8-8_stateful": {
        **_CIFAR10,
        "nodes": 8,
        "scheme": "rk4",
        "unit": "post_bias_free",
    },
    "cifar100_wide_8-8-8": {
        **_WIDE,
        "class": "ContinuousNet",
        "nodes": 8,
        "scheme": "euler",
        "unit": "pre",
    },
    "resnet20": {"class": "ResNet", "classes": 10, "blocks_per_stage": 3},
    "resnet56": {"class": "ResNet", "classes": 10, "blocks_per_stage": 9},
    "wrn58-4": {**_WIDE, "class": "ResNet", "blocks_per_stage": 9, "wide": True},
}


def continuous_net(preset: str, **overrides) -> Net:
    """Builds the net of that preset; keyword arguments override its own.

    Example: `continuous_net("cifar10_2-2-2_rk4", scheme="midpoint", classes=100)`.

    Raises:
        ValueError: no preset has that name, or its class has no such argument.
    """
    if preset not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"preset: expected one of {', '.join(PRESETS)}. Received {preset!r}.{hint}"
        )
    arguments = {**PRESETS[preset], **overrides}
    kind = arguments.pop("class")
    return _CLASSES[kind](**arguments)
