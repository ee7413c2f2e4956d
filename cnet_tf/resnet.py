"""The baselines: ResNet-6n+2 and WideResNet, with the same layers as ContinuousNet."""

import dataclasses
import functools
from collections.abc import Callable

import keras

from cnet_tf.image_ends import head, image_input, stem, tail
from cnet_tf.layer_factory import LayerFactory
from cnet_tf.residual_unit import (
    normed_projection,
    post_activation,
    pre_activation,
    projection,
    residual,
)


def he_unit(make: LayerFactory, width, strides=1) -> list:
    """conv - norm - relu - conv - norm."""
    return [
        *make.conv("conv_0", width, strides=strides),
        make.norm("norm_0"),
        make.relu("relu_0"),
        *make.conv("conv_1", width),
        make.norm("norm_1"),
    ]


@dataclasses.dataclass(frozen=True)
class ResidualStyle:
    """One family of baselines.

    Attributes:
        branch, skip: Functions (factory, width, stride) that return layers; the skip is
            the identity where the shape does not change.
        tail: See `UnitStyle`.
        activates: Whether a ReLU follows the sum.
        use_bias: Whether the convolutions have biases.
        stem_norm: Whether a norm and a ReLU follow the first convolution.
    """

    branch: Callable
    skip: Callable = normed_projection
    tail: tuple[str, ...] = ()
    activates: bool = False
    use_bias: bool = False
    stem_norm: bool = True


STYLES: dict[str, ResidualStyle] = {
    # The baseline of the ContinuousNet paper: the paper's unit, nothing after the sum.
    "post": ResidualStyle(post_activation),
    # He et al. 2015, with projections ("option B") where the shape changes.
    "he": ResidualStyle(he_unit, activates=True),
    # The WideResNet of the paper. Zagoruyko and Komodakis put the stride in the first
    # convolution and use no biases.
    "wide": ResidualStyle(
        functools.partial(pre_activation, strided=1),
        functools.partial(projection, use_bias=True),
        tail=("norm", "relu"),
        use_bias=True,
        stem_norm=False,
    ),
}


def ResNet(
    classes,
    blocks_per_stage=3,
    widths=(16, 32, 64),
    style="post",
    stem_width=16,
    padding="symmetric",
    tail_momentum=0.9,
    synchronized=False,
    input_shape=(32, 32, 3),
    dtype=None,
    name="resnet",
) -> keras.Model:
    """ResNet of depth 6n+2 or WideResNet of depth 6n+4, n units in each of 3 stages.

    A functional model; its layers are `stem`, `stage_<s>_unit_<i>`, `tail`, `pool` and
    `head`.

    Args:
        classes: Number of logits.
        blocks_per_stage: n; ResNet-20 has n = 3, ResNet-56 n = 9, WRN-58 n = 9.
        widths: Channels of the three stages. Default (16, 32, 64).
        style: A key of `STYLES`: `"post"` (default), the published baseline of the
            ContinuousNets; `"he"`, He's net; `"wide"`, the published WideResNet.
        stem_width: Channels of the stem. Default 16.
        padding: `"symmetric"` (default) or `"same"`, see `LayerFactory`.
        tail_momentum: Momentum of the statistics of the norm before the pooling, which
            only `"wide"` has. Default 0.9, as for all other norms; published: 0.1.
        synchronized: For all norms, see `SeriesBatchNormalization`. Default False.
        input_shape, dtype, name: See `ContinuousNet`. Default name `"resnet"`.

    Shapes: (batch, height, width, channels) -> logits (batch, classes).

    Raises:
        ValueError: unknown style or padding.

    References: Queiruga et al. 2020, arXiv 2008.02389; He et al. 2015, arXiv
    1512.03385, section 4.2; Zagoruyko and Komodakis 2016, arXiv 1605.07146.
    """
    if style not in STYLES:
        raise ValueError(
            f"style: expected one of {', '.join(STYLES)}. Received {style!r}."
        )
    style = STYLES[style]
    make = LayerFactory(padding, style.use_bias, synchronized, dtype)
    inputs = image_input(input_shape, dtype)
    if style.stem_norm:
        x = stem(make, stem_width)(inputs)
    else:
        x = keras.Sequential(make.conv("conv", stem_width), name="stem")(inputs)
    for stage, width in enumerate(widths):
        for i in range(blocks_per_stage):
            stride = 2 if stage > 0 and i == 0 else 1
            same = stride == 1 and x.shape[-1] == width
            x = residual(
                make,
                f"stage_{stage}_unit_{i}",
                x,
                style.branch(make, width, stride),
                () if same else style.skip(make, width, stride),
                activation=make.relu("relu") if style.activates else None,
            )
    if style.tail:
        x = tail(make, style.tail, tail_momentum)(x)
    return keras.Model(inputs, head(x, classes, dtype), name=name)
