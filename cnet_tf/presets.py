"""Named presets of nets, as data: a builder and its arguments."""

import difflib
import inspect

import keras

from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.mobile_net import ContinuousMobileNet
from cnet_tf.pretrained import load_weights
from cnet_tf.resnet import ResNet
from cnet_tf.transformer import ContinuousTransformer

_CIFAR10 = {"net": ContinuousNet, "classes": 10, "widths": (16, 32, 64)}
_TWICE = {"widths": (32, 64, 128)}
_RESNET20 = {"net": ResNet, "classes": 10, "blocks_per_stage": 3}
_PRE = {"unit": "pre", "tail_momentum": 0.1}
_STATEFUL = {"unit": "stateful", "padding": "same"}
_MOBILE = {"net": ContinuousMobileNet, "classes": 10, "nodes": 2}
_GROWN = {"scheme": "rk4", "members": ("rk4:2",), "depth_cells": 8}
_MENU = {
    "scheme": "midpoint",
    "restriction": "quadrature",
    "members": ("euler:1", "midpoint:1", "heun2:1", "midpoint:2", "rk4:2"),
    "depth_cells": 8,
}
_WIDE = {
    "classes": 100,
    "widths": (64, 128, 256),
    "stem_width": 16,
    "tail_momentum": 0.1,
}


def _direct(nodes):
    """Returns the arguments of a net of fixed depth, with `nodes` K and eps = K.

    As in the published nets that do not grow: Euler steps are residual units.
    """
    return {**_CIFAR10, "nodes": nodes, "horizon": nodes}


PRESETS: dict[str, dict] = {
    # Ours. Its figures in BUILD_NOTES.md are for this padding.
    "digits": {
        "net": ContinuousNet,
        "classes": 10,
        "widths": (8, 16, 32),
        "nodes": 1,
        "scheme": "rk4",
        "padding": "same",
        "input_shape": (8, 8, 1),
    },
    # Published, grown during training: eps stays 1.
    "cifar10_1-1-1_rk4": {**_CIFAR10, "nodes": 1, "scheme": "rk4"},
    # Published, of fixed depth.
    "cifar10_2-2-2_euler": {**_direct(2), "scheme": "euler"},
    "cifar10_2-2-2_rk4": {**_direct(2), "scheme": "rk4"},
    "cifar10_2-2-2_pre_rk4": {**_direct(2), **_PRE, "scheme": "rk4"},
    "cifar10_2-2-2_stateful": {**_direct(2), **_STATEFUL, "scheme": "rk4"},
    "cifar10_8-8-8_euler": {**_direct(8), "scheme": "euler"},
    "cifar10_8-8-8_rk4": {**_direct(8), "scheme": "rk4"},
    "cifar10_8-8-8_pre_rk4": {**_direct(8), **_PRE, "scheme": "rk4"},
    "cifar10_8-8-8_stateful": {**_direct(8), **_STATEFUL, "scheme": "rk4"},
    "cifar100_wide_8-8-8": {**_direct(8), **_PRE, **_WIDE, "scheme": "euler"},
    # Ours: RK4 after growth, with norms that keep statistics for each evaluation.
    "cifar10_grown_rk4": {**_direct(2), **_GROWN},
    # Ours: one set of kernels for one to eight evaluations per block.
    "cifar10_any_depth": {**_direct(2), **_MENU},
    # Twice as wide.
    "cifar10_wide_2-2-2_euler": {**_direct(2), **_TWICE, "scheme": "euler"},
    "cifar10_wide_any_depth": {**_direct(2), **_TWICE, **_MENU},
    # Published baselines.
    "resnet20": _RESNET20,
    "resnet56": {"net": ResNet, "classes": 10, "blocks_per_stage": 9},
    "wrn58-4": {**_WIDE, "net": ResNet, "blocks_per_stage": 9, "style": "wide"},
    # He's original net, from which the published baseline differs.
    "resnet20_he": {**_RESNET20, "style": "he"},
    # For comparison with the wide nets.
    "resnet20_wide": {**_RESNET20, **_TWICE, "stem_width": 32},
    # Ours, for small devices.
    "digits_mobile": {
        "net": ContinuousMobileNet,
        "classes": 10,
        "widths": (8, 16, 32),
        "stem_width": 8,
        "tail_width": 64,
        "expansion": 4,
        "nodes": 1,
        "input_shape": (8, 8, 1),
    },
    "cifar10_mobile": _MOBILE,
    # Grown like `cifar10_grown_rk4`.
    "cifar10_grown_mobile": {**_MOBILE, **_GROWN},
    # Ours: transformers for images cut into patches, and for tokens.
    "digits_transformer": {
        "net": ContinuousTransformer,
        "classes": 10,
        "width": 32,
        "patch": 2,
        "nodes": 2,
        "input_shape": (8, 8, 1),
    },
    "cifar10_transformer": {
        "net": ContinuousTransformer,
        "classes": 10,
        "patch": 4,
        "nodes": 4,
    },
    "sequence_transformer": {
        "net": ContinuousTransformer,
        "classes": 2,
        "vocabulary": 8000,
        "mask_zero": True,
        "input_shape": (200,),
    },
}


def continuous_net(preset: str, weights: str | None = None, **overrides) -> keras.Model:
    """Builds the net of a preset; keyword arguments override those of the preset.

    Examples: `continuous_net("cifar10_2-2-2_rk4", scheme="midpoint", classes=100)`,
    `continuous_net("cifar10_any_depth", weights="cifar10")`.

    Args:
        preset: A key of `PRESETS`.
        weights: Name of the data set on which the shipped weights were trained. With
            other `classes` the head keeps its initial weights. Default None: no
            weights are loaded.
        **overrides: Arguments of the preset's builder.

    Returns:
        A functional model, for inputs of `input_shape`: images, or tokens.

    Raises:
        ValueError: no preset has that name, its builder has no such argument, no such
            weights are shipped, or an override changes their shapes.
    """
    if preset not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"preset: expected one of {', '.join(PRESETS)}. Received {preset!r}.{hint}"
        )
    arguments = {**PRESETS[preset], **overrides}
    build = arguments.pop("net")
    known = _arguments(preset)
    unknown = [name for name in overrides if name not in known]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: expected an argument of {build.__name__}: "
            f"{', '.join(known)}. Received one that preset {preset!r} does not have."
        )
    net = build(**arguments)
    if weights is not None:
        load_weights(net, preset, weights)
    return net


def has_blocks(preset) -> bool:
    """Whether the net of a preset has blocks; otherwise its depth is fixed."""
    return "nodes" in _arguments(preset)


def _arguments(preset):
    return inspect.signature(PRESETS[preset]["net"]).parameters
