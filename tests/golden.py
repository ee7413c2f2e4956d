"""The published nets' numbers, and how their names are ours.

All that the tests of the published nets know of a net is here: `build`, and the paths
of its variables.
"""

import re

import numpy as np

from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.paths import named_variables
from cnet_tf.resnet import ResNet

_CONTINUOUS = {"classes": 10, "widths": (4, 8, 16), "nodes": 2}
_PRE = {**_CONTINUOUS, "tail_momentum": 0.1}
# file -> class and arguments: the presets, small.
NETS = {
    "post": (ContinuousNet, {**_CONTINUOUS, "unit": "post"}),
    "pre": (ContinuousNet, {**_PRE, "unit": "pre"}),
    "pre_tail_relu": (ContinuousNet, {**_PRE, "unit": "pre_tail_relu"}),
    "wide": (ContinuousNet, {**_PRE, "unit": "pre", "stem_width": 2}),
    "stateful": (ContinuousNet, {**_CONTINUOUS, "unit": "stateful", "padding": "same"}),
    "resnet20": (ResNet, {"classes": 10, "widths": (4, 8, 16), "stem_width": 4}),
    "wrn10-2": (
        ResNet,
        {
            "classes": 10,
            "blocks_per_stage": 1,
            "widths": (8, 16, 32),
            "stem_width": 4,
            "style": "wide",
            "tail_momentum": 0.1,
        },
    ),
}
BASELINES = ("resnet20", "wrn10-2")
# Of the paper's own programs, which keep unbiased variances.
PYTORCH = tuple(name for name in NETS if name != "stateful")
# The cases are images of several sizes.
IMAGE = (None, None, 3)


def load(path) -> dict[str, np.ndarray]:
    """The arrays of a file by their keys."""
    with np.load(path) as file:
        return dict(file)


def build(file, golden, case, **overrides):
    """Our net for a case, in float64, with the published weights and statistics.

    Args:
        file: A key of `NETS`.
        golden: Its arrays.
        case: `<scheme>_n<N>_eps<eps>`, `train`, `train_rk4` or `eval`.
        overrides: Arguments of the net.
    """
    kind, arguments = NETS[file]
    if file not in BASELINES:
        eps, stitch, steps = golden[f"settings/{case}"]
        # The default of ours.
        assert stitch == eps / arguments["nodes"]
        depth = {"horizon": int(eps), "steps": int(steps), "scheme": _scheme(case)}
        arguments = {**arguments, **depth}
    net = kind(**{"input_shape": IMAGE, **arguments, "dtype": "float64", **overrides})
    named = variables(net)
    values = {**section(golden, "weights"), **section(golden, "stats")}
    assert named.keys() == values.keys()
    for name, variable in named.items():
        variable.assign(as_series(values[name], variable.shape))
    return net


def _scheme(case):
    found = {"train": "euler", "train_rk4": "rk4"}
    return found.get(case) or re.sub("_n[0-9]+_eps[0-9]+$", "", case)


def section(golden, prefix):
    """The arrays under a prefix, by the rest of their names."""
    start = prefix + "/"
    return {k.removeprefix(start): v for k, v in golden.items() if k.startswith(start)}


def as_series(value, shape):
    """A published array in the shape of ours: layers outside blocks have K = 1."""
    assert tuple(shape) in (value.shape, (1, *value.shape))
    return value.reshape(shape)


_WEIGHTS = {"moving_mean": "mean", "moving_variance": "variance"}


def variables(net) -> dict:
    """The variables of a net by their published names.

    `block_0/rate/norm_1/gamma` is `block_0/norm_1/gamma`, and the only layer of a skip
    has no name of its own.
    """
    named = {_published(path): v for path, v in named_variables(net).items()}
    assert len(named) == len(net.variables)
    return named


def _published(path):
    parts = [_WEIGHTS.get(part, part) for part in path.split("/") if part != "rate"]
    unit = re.fullmatch("stage_([0-9]+)_unit_([0-9]+)", parts[0])
    if unit:
        parts[:1] = ["stage_" + unit[1], "unit_" + unit[2]]
    if "skip" in parts and "conv" in parts:
        parts.remove("conv")
    return "/".join(parts)
