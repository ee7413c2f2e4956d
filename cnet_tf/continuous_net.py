"""ContinuousNet for images: stem, continuous blocks between transitions, head.

stem - [transition_s - block_s] for every stage s - tail - average pool - dense
"""

import dataclasses

import keras

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.net import Net, per_block, remanifested
from cnet_tf.rate import SeriesChain
from cnet_tf.transition import Transition


@dataclasses.dataclass(frozen=True)
class UnitStyle:
    """The operations of one family of residual nets, see `SeriesChain`."""

    stem: tuple[str, ...]
    transition: tuple[str, ...]
    rate: tuple[str, ...]
    tail: tuple[str, ...] = ()
    use_bias: bool = True


_POST = ("conv", "relu", "norm", "conv", "relu", "norm")
_PRE = ("norm", "relu", "conv", "norm", "relu", "conv")

UNITS: dict[str, UnitStyle] = {
    # Post-activation. The published code builds a second norm in its transitions and
    # never applies it; it is left out here (224 dead parameters for a = 16).
    "post": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_POST[:-1],
        rate=_POST,
    ),
    # "act first".
    "pre": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_PRE,
        rate=_PRE,
        tail=("norm", "relu"),
    ),
    # The published stateful variant: no biases, and no norm in the stem.
    "post_bias_free": UnitStyle(
        stem=("conv", "relu"),
        transition=_POST,
        rate=_POST,
        use_bias=False,
    ),
    # No norm in the rate: a scalar that starts at zero in its place.
    "skip_init": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_POST[:-1],
        rate=("conv", "relu", "conv", "scale"),
    ),
}


@keras.saving.register_keras_serializable("cnet_tf")
class ContinuousNet(Net):
    """An image classifier of blocks dx/dt = eps R(theta(t), x).

    Args:
        classes: Logits.
        widths: Channels of the blocks. Default (16, 32, 64).
        nodes: K, functions of the basis per block, an int or one a block. Default 2.
        steps: N, an int or one a block. Default: the cells of the basis (K for
            constants).
        scheme: A key of `SCHEMES`. Default `"rk4"`.
        basis: A key of `BASES`. Default `"constant"`.
        unit: A key of `UNITS`. Default `"post"`.
        strides: Of the transitions. Default (1, 2, 2).
        stem_width: Channels of the stem. Default: the first of `widths`.
        horizon: eps, the time horizon of every block. Default 1.
        stitch: stitch_eps, factor of the transitions' branches. Default 1.
        restriction: How fewer steps than cells read theta, see `ContinuousBlock`.
        share: A net of the same shape whose layers are to be used: the new net is
            another manifestation of its weights. Not part of the config.

    Shapes: (batch, height, width, channels) -> logits (batch, classes) in the dtype of
    the weights. Any height, width and number of channels.

    Raises:
        ValueError: an argument has a value or a length that is not allowed.

    Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389.
    """

    def __init__(
        self,
        classes,
        widths=(16, 32, 64),
        nodes=2,
        steps=None,
        scheme="rk4",
        basis="constant",
        unit="post",
        strides=(1, 2, 2),
        stem_width=None,
        horizon=1,
        stitch=1.0,
        restriction="average",
        share=None,
        **kwargs,
    ):
        if unit not in UNITS:
            raise ValueError(
                f"unit: expected one of {', '.join(UNITS)}. Received {unit!r}."
            )
        count = len(widths)
        config = {
            "classes": classes,
            "widths": tuple(widths),
            "nodes": per_block("nodes", nodes, count),
            "steps": per_block("steps", steps, count),
            "scheme": scheme,
            "basis": basis,
            "unit": unit,
            "strides": per_block("strides", strides, count),
            "stem_width": stem_width or widths[0],
            "horizon": horizon,
            "stitch": stitch,
            "restriction": restriction,
        }
        if share is None:
            parts = _parts(UNITS[unit], config, kwargs.get("dtype"))
        else:
            parts = remanifested(
                share.parts, scheme, config["steps"], horizon, restriction
            )
        super().__init__(parts, config, **kwargs)


def _parts(style: UnitStyle, config, policy):
    stem = SeriesChain(
        style.stem, config["stem_width"], use_bias=False, name="stem", dtype=policy
    )
    parts = [stem]
    stages = zip(
        config["widths"],
        config["strides"],
        config["nodes"],
        config["steps"],
        strict=True,
    )
    for i, (width, stride, nodes, steps) in enumerate(stages):
        transition = Transition(
            width,
            stride,
            branch=style.transition,
            stitch=config["stitch"],
            use_bias=style.use_bias,
            name=f"transition_{i}",
            dtype=policy,
        )
        rate = SeriesChain(
            style.rate,
            width,
            use_bias=style.use_bias,
            basis=config["basis"],
            nodes=nodes,
            name="rate",
            dtype=policy,
        )
        block = ContinuousBlock(
            rate,
            config["scheme"],
            steps,
            config["horizon"],
            config["restriction"],
            name=f"block_{i}",
            dtype=policy,
        )
        parts += [transition, block]
    if style.tail:
        width = config["widths"][-1]
        parts.append(SeriesChain(style.tail, width, name="tail", dtype=policy))
    return parts + classification_head(config["classes"], policy)


def classification_head(classes, policy):
    """Global average pooling and a dense layer, shared by all nets for images."""
    return [
        keras.layers.GlobalAveragePooling2D(name="pool", dtype=policy),
        # Logits and loss have the precision of the weights under mixed precision.
        keras.layers.Dense(
            classes, dtype=keras.dtype_policies.get(policy).variable_dtype, name="head"
        ),
    ]
