"""A mobile net whose repeated units are continuous in depth, as a functional model.

stem - [transition_s - block_s] for every stage s - tail - average pool - dense
"""

import keras

from cnet_tf.any_depth import menu_net
from cnet_tf.checks import per_block, positive_integer
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.image_ends import head, image_input
from cnet_tf.layer_factory import LayerFactory

layers = keras.layers


def ContinuousMobileNet(
    classes,
    widths=(16, 32, 64),
    expansion=6,
    strides=(1, 2, 2),
    stem_width=16,
    tail_width=128,
    input_shape=(32, 32, 3),
    nodes=2,
    steps=None,
    scheme="rk4",
    basis="constant",
    horizon=1,
    restriction="average",
    synchronized=False,
    members=(),
    depth_cells=None,
    dtype=None,
    name="continuous_mobile_net",
) -> keras.Model:
    """An image classifier of blocks dx/dt = eps R(theta(t), x), for small devices.

        R(x) = norm(project(relu6(norm(depthwise(relu6(norm(expand(x))))))))

    R is the inverted residual unit of MobileNetV2: a 1x1 convolution to `expansion`
    times the channels, a depthwise 3x3 convolution, and a linear 1x1 convolution back.
    Euler with N = K and eps = K is MobileNetV2's chain of K residual units. A
    transition is one such unit with its own width and stride, and without a skip.

        net = ContinuousMobileNet(10)
        net.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
        features = keras.Model(net.input, net.get_layer("block_1").output)

    Args:
        classes: Number of logits, >= 1.
        widths: Channels of the stages, one block each. Default (16, 32, 64).
        expansion: Channels inside a unit over those outside, an int >= 1 or one per
            block, which applies to the block's transition too. Default 6.
        strides: Strides of the transitions, an int or one per block. Default (1, 2, 2).
        stem_width: Channels of the 3x3 convolution at the start. Default 16.
        tail_width: Channels of the 1x1 convolution before the pooling. Default 128.
        input_shape: (height, width, channels); height and width may be None. Default
            (32, 32, 3).
        nodes: K, functions of the basis, an int or one per block. Default 2.
        steps: N, an int or one per block. Default: the cells of the basis (K for
            constants).
        scheme: A key of `SCHEMES`. Default `"rk4"`.
        basis: A key of `BASES`. Default `"constant"`.
        horizon: eps, a number or one per block. Default 1.
        restriction: How theta is read with fewer steps than cells, see
            `ContinuousBlock`.
        synchronized: Setting of all norms, see `SeriesBatchNormalization`. Default
            False.
        members, depth_cells: Manifestations with norms of their own, see
            `ContinuousNet`. Default: none.
        dtype: Policy of every layer; the logits have its variable dtype. Default: the
            global policy.
        name: Name of the model.

    Shapes: (batch, *input_shape) -> logits (batch, classes). Convolutions use `same`
    padding, so a stride of 2 halves the size, rounded up.

    Returns:
        A functional `keras.Model` with the layers `stem`, `transition_s`, `block_s`,
        `tail`, `pool` and `head`. Stem, transitions and tail are models themselves: the
        output of `transition_s` in the net is the input of its `block_s`.

    Raises:
        ValueError: a size below 1, a sequence whose length is not that of `widths`,
            unknown scheme, basis or restriction, or an input shape of another rank.

    References: Sandler, Howard, Zhu, Zhmoginov, Chen 2018, arXiv 1801.04381, section 3;
    Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389.
    """
    if len(input_shape) != 3:
        raise ValueError(
            "input_shape: expected (height, width, channels). "
            f"Received {tuple(input_shape)}."
        )
    if not widths:
        raise ValueError("widths: expected at least one stage. Received none.")
    policy = keras.dtype_policies.get(dtype)
    shared = {"synchronized": synchronized, "dtype": policy}
    count = len(widths)
    stages = zip(
        widths,
        per_block("expansion", expansion, count),
        per_block("strides", strides, count),
        per_block("nodes", nodes, count),
        per_block("steps", steps, count),
        per_block("horizon", horizon, count),
        strict=True,
    )
    x = inputs = image_input(input_shape, policy)
    x = _named("stem", x, _convolution("stem", stem_width, 3, **shared))
    for i, (width, times, stride, k, n, eps) in enumerate(stages):
        transition = f"transition_{i}"
        unit = _inverted_residual(
            f"{transition}_", x.shape[-1], width, times, stride, **shared
        )
        x = _named(transition, x, unit)
        unit = _inverted_residual("", width, width, times, **shared)
        x = ContinuousBlock(
            keras.Sequential(unit, name="rate"),
            nodes=k,
            scheme=scheme,
            steps=n,
            basis=basis,
            horizon=eps,
            restriction=restriction,
            dtype=policy,
            name=f"block_{i}",
        )(x)
    x = _named("tail", x, _convolution("tail", tail_width, 1, **shared))
    net = keras.Model(inputs, head(x, classes, policy), name=name)
    return menu_net(net, members, depth_cells)


def _named(name, x, chain):
    """Applies a chain of layers to x, as one named part of the net."""
    # A functional model, because weights of a Sequential one have other paths in clones
    # and loaded files. Its name is in no path, so the layers' names contain it.
    y = start = keras.Input(batch_shape=x.shape, dtype=x.dtype, name=f"{name}_input")
    for layer in chain:
        y = layer(y)
    return keras.Model(start, y, name=name)(x)


def _inverted_residual(
    prefix, channels, width, expansion, stride=1, synchronized=False, dtype=None
):
    """expand - norm - relu6 - depthwise - norm - relu6 - project - norm."""
    inner = positive_integer("expansion", expansion) * channels
    stride = positive_integer("strides", stride)
    width = positive_integer("widths", width)
    convolution = {"padding": "same", "use_bias": False, "dtype": dtype}
    return [
        layers.Conv2D(inner, 1, name=f"{prefix}expand", **convolution),
        _norm(f"{prefix}expand_norm", synchronized, dtype),
        layers.ReLU(6.0, dtype=dtype, name=f"{prefix}expand_relu"),
        layers.DepthwiseConv2D(3, stride, name=f"{prefix}depthwise", **convolution),
        _norm(f"{prefix}depthwise_norm", synchronized, dtype),
        layers.ReLU(6.0, dtype=dtype, name=f"{prefix}depthwise_relu"),
        # Linear: ReLU would lose information in so few channels (section 3.2 of the
        # paper).
        layers.Conv2D(width, 1, name=f"{prefix}project", **convolution),
        _norm(f"{prefix}project_norm", synchronized, dtype),
    ]


def _convolution(prefix, width, kernel, synchronized=False, dtype=None):
    """conv - norm - relu6."""
    return [
        layers.Conv2D(
            positive_integer(f"{prefix}_width", width),
            kernel,
            padding="same",
            use_bias=False,
            dtype=dtype,
            name=f"{prefix}_conv",
        ),
        _norm(f"{prefix}_norm", synchronized, dtype),
        layers.ReLU(6.0, dtype=dtype, name=f"{prefix}_relu"),
    ]


def _norm(name, synchronized, dtype):
    # With one node it computes what Keras' batch norm does, which however leaves
    # TensorFlow's fused training kernel unused. Blocks rebuild it in their basis.
    return LayerFactory(synchronized=synchronized, dtype=dtype).norm(name)
