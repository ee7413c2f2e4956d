"""The baselines: ResNet-6n+2 and WideResNet, of the same layers as ContinuousNet."""

import dataclasses

import keras

from cnet_tf.continuous_net import classification_head
from cnet_tf.net import Net
from cnet_tf.rate import SeriesChain
from cnet_tf.transition import Transition


@dataclasses.dataclass(frozen=True)
class ResidualStyle:
    """The operations of one family of baselines, see `SeriesChain`.

    Attributes:
        stem, branch, skip, tail: Chains; the skip is the identity where it may be.
        strided: Which convolution of the branch has the stride.
        activation: After the sum.
        use_bias: Of all convolutions.
    """

    stem: tuple[str, ...]
    branch: tuple[str, ...]
    skip: tuple[str, ...]
    tail: tuple[str, ...] = ()
    strided: int = 0
    activation: str | None = None
    use_bias: bool = False


STYLES: dict[str, ResidualStyle] = {
    # The baseline of the ContinuousNet paper: its own unit, nothing after the sum.
    "post": ResidualStyle(
        stem=("conv", "norm", "relu"),
        branch=("conv", "relu", "norm", "conv", "relu", "norm"),
        skip=("conv1x1", "norm"),
    ),
    # He et al. 2015, with projections ("option B") where the shape changes.
    "he": ResidualStyle(
        stem=("conv", "norm", "relu"),
        branch=("conv", "norm", "relu", "conv", "norm"),
        skip=("conv1x1", "norm"),
        activation="relu",
    ),
    # The WideResNet of the paper. Zagoruyko and Komodakis have the stride in the first
    # convolution and no biases.
    "wide": ResidualStyle(
        stem=("conv",),
        branch=("norm", "relu", "conv", "norm", "relu", "conv"),
        skip=("conv1x1",),
        tail=("norm", "relu"),
        strided=1,
        use_bias=True,
    ),
}


@keras.saving.register_keras_serializable("cnet_tf")
class ResNet(Net):
    """ResNet of depth 6n+2 or WideResNet of depth 6n+4, n units in each of 3 stages.

    Args:
        classes: Logits.
        blocks_per_stage: n; ResNet-20 has n = 3, ResNet-56 n = 9, WRN-58 n = 9.
        widths: Channels of the three stages. Default (16, 32, 64).
        style: A key of `STYLES`: `"post"` (default), the published baseline of the
            ContinuousNets; `"he"`, He's net; `"wide"`, the published WideResNet.
        stem_width: Channels of the stem. Default 16.
        padding: `"symmetric"` (default) or `"same"`, see `SeriesConv2D`.
        tail_momentum: Momentum of the statistics of the norm before the pooling, which
            only `"wide"` has. Default 0.9, as of all others; published: 0.1.
        synchronized: Of all norms, see `SeriesBatchNormalization`. Default False.

    Shapes: (batch, height, width, channels) -> logits (batch, classes).

    Raises:
        ValueError: unknown style or padding.

    References: Queiruga et al. 2020, arXiv 2008.02389; He et al. 2015, arXiv
    1512.03385, section 4.2; Zagoruyko and Komodakis 2016, arXiv 1605.07146.
    """

    def __init__(
        self,
        classes,
        blocks_per_stage=3,
        widths=(16, 32, 64),
        style="post",
        stem_width=16,
        padding="symmetric",
        tail_momentum=0.9,
        synchronized=False,
        **kwargs,
    ):
        if style not in STYLES:
            raise ValueError(
                f"style: expected one of {', '.join(STYLES)}. Received {style!r}."
            )
        config = {
            "classes": classes,
            "blocks_per_stage": blocks_per_stage,
            "widths": tuple(widths),
            "style": style,
            "stem_width": stem_width,
            "padding": padding,
            "tail_momentum": tail_momentum,
            "synchronized": synchronized,
        }
        style = STYLES[style]
        policy = kwargs.get("dtype")
        shared = {"synchronized": synchronized, "dtype": policy}
        stem = SeriesChain(
            style.stem, stem_width, use_bias=style.use_bias, name="stem", **shared
        )
        parts = [stem]
        channels = stem_width
        for stage, width in enumerate(widths):
            for i in range(blocks_per_stage):
                stride = 2 if stage > 0 and i == 0 else 1
                same = stride == 1 and channels == width
                parts.append(
                    Transition(
                        width,
                        stride,
                        branch=style.branch,
                        skip=() if same else style.skip,
                        use_bias=style.use_bias,
                        skip_bias=style.use_bias,
                        activation=style.activation,
                        strided=style.strided,
                        padding=padding,
                        name=f"stage_{stage}_unit_{i}",
                        **shared,
                    )
                )
                channels = width
        if style.tail:
            tail = SeriesChain(
                style.tail, channels, momentum=tail_momentum, name="tail", **shared
            )
            parts.append(tail)
        parts += classification_head(classes, policy)
        super().__init__(parts, config, **kwargs)
