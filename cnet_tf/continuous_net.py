"""ContinuousNet for images: stem, continuous blocks between transitions, head.

stem - [transition_s - block_s] for every stage s - tail - average pool - dense
"""

import dataclasses

import keras

from cnet_tf.any_depth import menu_net
from cnet_tf.checks import finite_number, per_block, positive_integer
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.image_ends import head, image_input, stem, tail
from cnet_tf.layer_factory import LayerFactory
from cnet_tf.residual_unit import UNITS, residual


def ContinuousNet(
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
    members=(),
    depth_cells=None,
    input_shape=(32, 32, 3),
    dtype=None,
    name="continuous_net",
) -> keras.Model:
    """An image classifier of blocks dx/dt = eps R(theta(t), x): a functional model.

    Its layers are `stem`, `transition_<s>`, `block_<s>`, `tail`, `pool` and `head`, so
    that `net.get_layer("block_1").output` are features.

    Args:
        classes: Number of logits.
        widths: Channels of the blocks. Default (16, 32, 64).
        nodes: K, functions of the basis, an int or one per block. Default 2.
        steps: N, an int or one per block. Default: the cells of the basis (K for
            constants).
        scheme: A key of `SCHEMES`. Default `"rk4"`.
        basis: A key of `BASES`. Default `"constant"`.
        unit: A key of `UNITS`, or a function from the width to a Keras layer or model
            that keeps the shape, used between the transitions of `"post"`. Default
            `"post"`.
        strides: Strides of the transitions. Default (1, 2, 2).
        stem_width: Channels of the stem. Default: the first of `widths`.
        horizon: eps, the time horizon of every block. Default 1, as in the nets that
            grow from K = 1; the published nets of fixed depth have eps = K, so that
            N = K Euler steps are residual units.
        stitch: stitch_eps, factor of the transitions' branches, a number or one per
            block. Default: eps / K of the block that follows, the weight of a residual
            unit in that block. Fixed when the net is made: neither other steps nor a
            refinement changes it.
        padding: `"symmetric"` (default), as in the PyTorch nets, or `"same"`, as in the
            JAX net. They differ where a 3x3 convolution has stride 2 and the size is
            even, see `LayerFactory`.
        tail_momentum: Momentum of the moving statistics of the norm before the pooling,
            if there is one. Default 0.9, as for all other norms. The published
            pre-activation and wide nets have 0.1 (PyTorch's momentum 0.9).
        restriction: How theta is read with fewer steps than cells, see
            `ContinuousBlock`. Default `"average"`.
        synchronized: Setting of all norms, see `SeriesBatchNormalization`. Default
            False.
        members: Manifestations with norms of their own, see `any_depth.with_members`;
            the net reads the norms of its own manifestation if that is one of them.
            Default: none.
        depth_cells: For a net with members: cells of depth for which all other
            manifestations keep statistics, see `any_depth.with_statistics_apart`.
            Default: the cells of the basis.
        input_shape: (height, width, channels); height and width may be None. Default
            (32, 32, 3).
        dtype: Policy of all layers; the logits are in the precision of its weights.
            Default: Keras' own.
        name: Name of the model. Default `"continuous_net"`.

    Shapes: (batch, height, width, channels) -> logits (batch, classes).

    Raises:
        ValueError: unknown names, or sequences whose length is not that of `widths`.

    Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389, figure 4.
    """
    style = _style(unit)
    make = LayerFactory(padding, style.use_bias, synchronized, dtype)
    count = len(widths)
    nodes = per_block("nodes", nodes, count)
    if stitch is None:
        horizon = finite_number("horizon", horizon)
        stitch = tuple(horizon / positive_integer("nodes", k) for k in nodes)
    stages = zip(
        widths,
        per_block("strides", strides, count),
        per_block("stitch", stitch, count),
        nodes,
        per_block("steps", steps, count),
        strict=True,
    )
    inputs = image_input(input_shape, dtype)
    x = stem(make, stem_width or widths[0])(inputs)
    for i, (width, stride, factor, size, number) in enumerate(stages):
        identity = style.keeps_shape and stride == 1 and x.shape[-1] == width
        x = residual(
            make,
            f"transition_{i}",
            x,
            style.transition(make, width, stride),
            () if identity else style.skip(make, width, stride),
            factor,
        )
        rate = style.rate(make, width)
        if isinstance(rate, list):
            rate = keras.Sequential(rate, name="rate")
        block = ContinuousBlock(
            rate,
            size,
            scheme,
            number,
            basis,
            horizon,
            restriction,
            name=f"block_{i}",
            dtype=dtype,
        )
        x = block(x)
    if style.tail:
        x = tail(make, style.tail, tail_momentum)(x)
    net = keras.Model(inputs, head(x, classes, dtype), name=name)
    return menu_net(net, members, depth_cells)


def _style(unit):
    if callable(unit):
        return dataclasses.replace(UNITS["post"], rate=lambda make, width: unit(width))
    if unit not in UNITS:
        raise ValueError(
            f"unit: expected one of {', '.join(UNITS)}, or a function from the width "
            f"to a Keras model. Received {unit!r}."
        )
    return UNITS[unit]
