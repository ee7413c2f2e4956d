"""The baselines: ResNet-6n+2 and WideResNet, of the same layers as ContinuousNet."""

import keras

from cnet_tf.continuous_net import classification_head
from cnet_tf.net import Net
from cnet_tf.rate import SeriesChain
from cnet_tf.transition import Transition


@keras.saving.register_keras_serializable("cnet_tf")
class ResNet(Net):
    """ResNet of depth 6n+2 (post-activation) or WideResNet of depth 6n+4.

    Args:
        classes: Logits.
        blocks_per_stage: n; ResNet-20 has n = 3, ResNet-56 n = 9, WRN-58 n = 9.
        widths: Channels of the three stages. Default (16, 32, 64).
        wide: False (default): conv - norm - relu - conv - norm, relu after the sum,
            no biases, 1x1 conv and norm on the skips that change shape. True: norm -
            relu - conv - norm - relu - conv, biases everywhere.
        stem_width: Channels of the stem. Default 16.

    Shapes: (batch, height, width, channels) -> logits (batch, classes).

    References: He et al. 2015, arXiv 1512.03385, section 4.2; Zagoruyko and Komodakis
    2016, arXiv 1605.07146.
    """

    def __init__(
        self,
        classes,
        blocks_per_stage=3,
        widths=(16, 32, 64),
        wide=False,
        stem_width=16,
        **kwargs,
    ):
        config = {
            "classes": classes,
            "blocks_per_stage": blocks_per_stage,
            "widths": tuple(widths),
            "wide": wide,
            "stem_width": stem_width,
        }
        style = _WIDE if wide else _PLAIN
        policy = kwargs.get("dtype")
        stem = SeriesChain(
            style["stem"], stem_width, use_bias=wide, name="stem", dtype=policy
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
                        branch=style["branch"],
                        skip=() if same else style["skip"],
                        use_bias=wide,
                        skip_bias=wide,
                        activation=style["activation"],
                        name=f"stage_{stage}_unit_{i}",
                        dtype=policy,
                    )
                )
                channels = width
        if wide:
            parts.append(
                SeriesChain(("norm", "relu"), channels, name="tail", dtype=policy)
            )
        parts += classification_head(classes, policy)
        super().__init__(parts, config, **kwargs)


_PLAIN = {
    "stem": ("conv", "norm", "relu"),
    "branch": ("conv", "norm", "relu", "conv", "norm"),
    "skip": ("conv1x1", "norm"),
    "activation": "relu",
}
_WIDE = {
    "stem": ("conv",),
    "branch": ("norm", "relu", "conv", "norm", "relu", "conv"),
    "skip": ("conv1x1",),
    "activation": None,
}
