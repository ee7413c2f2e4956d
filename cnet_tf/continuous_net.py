"""ContinuousNet for images: stem, continuous blocks between transitions, head.

stem - [transition_s - block_s] for every stage s - tail - average pool - dense
"""

import dataclasses

import keras

from cnet_tf.checks import positive_integer
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.net import Net, per_block, remanifested
from cnet_tf.rate import SeriesChain
from cnet_tf.transition import Transition


@dataclasses.dataclass(frozen=True)
class UnitStyle:
    """The operations of one family of residual nets, see `SeriesChain`.

    Attributes:
        stem, transition, rate, tail: Chains; `transition` is that of the branches.
        skip: The chain beside a branch.
        keeps_shape: Whether the skip is the identity where it may be.
        use_bias: Of the convolutions of branches and rates.
    """

    stem: tuple[str, ...]
    transition: tuple[str, ...]
    rate: tuple[str, ...]
    tail: tuple[str, ...] = ()
    skip: tuple[str, ...] = ("conv1x1",)
    keeps_shape: bool = False
    use_bias: bool = True


_POST = ("conv", "relu", "norm", "conv", "relu", "norm")
_PRE = ("norm", "relu", "conv", "norm", "relu", "conv")

UNITS: dict[str, UnitStyle] = {
    # Published: post-activation. The published code builds a second norm in its
    # transitions and never applies it; it is left out here (224 dead parameters for
    # a = 16).
    "post": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_POST[:-1],
        rate=_POST,
    ),
    # Published: activation first ("act first"), no ReLU in front of the pooling.
    "pre": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_PRE,
        rate=_PRE,
        tail=("norm",),
    ),
    # Ours: the same with the ReLU that pre-activation nets usually end in.
    "pre_tail_relu": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_PRE,
        rate=_PRE,
        tail=("norm", "relu"),
    ),
    # Published: the JAX net of the stateful norms, without biases.
    "stateful": UnitStyle(
        stem=("conv", "norm", "relu"),
        transition=_PRE,
        rate=_PRE,
        tail=("norm",),
        skip=("conv1x1", "norm"),
        keeps_shape=True,
        use_bias=False,
    ),
    # Ours. No norm in the rate: a scalar that starts at zero in its place.
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
        horizon: eps, the time horizon of every block. Default 1, that of the nets that
            grow from K = 1; the published nets of fixed depth have eps = K, with which
            Euler steps of N = K are residual units.
        stitch: stitch_eps, factor of the transitions' branches, a number or one a
            block. Default: eps / K of the block that follows, the weight that a
            residual unit has in it. Fixed when the net is made: neither other steps nor
            a refinement change it.
        padding: `"symmetric"` (default), as the PyTorch nets have it, or `"same"`, as
            the JAX net has it. They differ where a 3x3 convolution has stride 2 and the
            size is even, see `SeriesConv2D`.
        tail_momentum: Momentum of the statistics of the norm before the pooling, where
            there is one. Default 0.9, as of all others. The published pre-activation
            and wide nets have 0.1 (PyTorch's momentum 0.9).
        restriction: How fewer steps than cells read theta, see `ContinuousBlock`.
        synchronized: Of all norms, see `SeriesBatchNormalization`. Default False.
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
        stitch=None,
        padding="symmetric",
        tail_momentum=0.9,
        restriction="average",
        synchronized=False,
        share=None,
        **kwargs,
    ):
        if unit not in UNITS:
            raise ValueError(
                f"unit: expected one of {', '.join(UNITS)}. Received {unit!r}."
            )
        count = len(widths)
        nodes = per_block("nodes", nodes, count)
        if stitch is None:
            stitch = tuple(horizon / positive_integer("nodes", k) for k in nodes)
        config = {
            "classes": classes,
            "widths": tuple(widths),
            "nodes": nodes,
            "steps": per_block("steps", steps, count),
            "scheme": scheme,
            "basis": basis,
            "unit": unit,
            "strides": per_block("strides", strides, count),
            "stem_width": stem_width or widths[0],
            "horizon": horizon,
            "stitch": per_block("stitch", stitch, count),
            "padding": padding,
            "tail_momentum": tail_momentum,
            "restriction": restriction,
            "synchronized": synchronized,
        }
        if share is None:
            parts = _parts(UNITS[unit], config, kwargs.get("dtype"))
        else:
            parts = remanifested(
                share.parts, scheme, config["steps"], horizon, restriction
            )
        super().__init__(parts, config, **kwargs)


def _parts(style: UnitStyle, config, policy):
    shared = {"synchronized": config["synchronized"], "dtype": policy}
    stem = SeriesChain(
        style.stem, config["stem_width"], use_bias=False, name="stem", **shared
    )
    parts = [stem]
    stages = zip(
        config["widths"],
        config["strides"],
        config["stitch"],
        config["nodes"],
        config["steps"],
        strict=True,
    )
    channels = config["stem_width"]
    for i, (width, stride, stitch, nodes, steps) in enumerate(stages):
        identity = style.keeps_shape and stride == 1 and channels == width
        transition = Transition(
            width,
            stride,
            branch=style.transition,
            skip=() if identity else style.skip,
            stitch=stitch,
            use_bias=style.use_bias,
            padding=config["padding"],
            name=f"transition_{i}",
            **shared,
        )
        rate = SeriesChain(
            style.rate,
            width,
            use_bias=style.use_bias,
            basis=config["basis"],
            nodes=nodes,
            name="rate",
            **shared,
        )
        block = ContinuousBlock(
            rate,
            scheme=config["scheme"],
            steps=steps,
            horizon=config["horizon"],
            restriction=config["restriction"],
            name=f"block_{i}",
            dtype=policy,
        )
        parts += [transition, block]
        channels = width
    if style.tail:
        tail = SeriesChain(
            style.tail,
            channels,
            momentum=config["tail_momentum"],
            name="tail",
            **shared,
        )
        parts.append(tail)
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
