"""Keras layers with the settings that all layers of an image net share."""

import dataclasses

import keras

from cnet_tf.series_norm import SeriesBatchNormalization

# Where zeros are added at the border of an image, see `LayerFactory`.
PADDINGS = ("same", "symmetric")


def fan_out_normal():
    """Returns a new initializer N(0, sqrt(2 / fan_out)), with draws of its own.

    Reference: He et al. 2015, arXiv 1502.01852, equation 14 (the backward form).
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


@dataclasses.dataclass(frozen=True)
class LayerFactory:
    """Makes the layers of a net, channels last.

    Padding matters at stride 2, where output pixel i of a 3x3 kernel is centred on
    input pixel 2i with `"symmetric"`, but on 2i + 1 with `"same"` if the size is even.

    Attributes:
        padding: `"symmetric"` (default): (kernel_size - 1) / 2 zeros on every side, as
            in PyTorch nets. `"same"`, as in Keras and Flax: at stride s > 1 the zeros
            on the two sides may differ by one, depending on the size.
        use_bias: Default for convolutions that do not specify it. Default True.
        synchronized: Setting of the norms, see `SeriesBatchNormalization`. Default
            False.
        dtype: Policy of all layers. Default: Keras' own.

    Raises:
        ValueError: unknown padding.
    """

    padding: str = "symmetric"
    use_bias: bool = True
    synchronized: bool = False
    dtype: str | keras.DTypePolicy | None = None

    def __post_init__(self):
        if self.padding not in PADDINGS:
            raise ValueError(
                f"padding: expected one of {', '.join(PADDINGS)}. "
                f"Received {self.padding!r}."
            )

    def conv(self, name, filters, kernel_size=3, strides=1, use_bias=None) -> list:
        """Returns a convolution, after a padding layer where Keras needs one."""
        layers, padding = [], "same"
        margin = (kernel_size - 1) // 2
        if self.padding == "symmetric" and strides > 1 and margin:
            padding = "valid"
            layers.append(
                keras.layers.ZeroPadding2D(
                    margin,
                    data_format="channels_last",
                    dtype=self.dtype,
                    name=f"{name}_padding",
                )
            )
        layers.append(
            keras.layers.Conv2D(
                filters,
                kernel_size,
                strides,
                padding,
                data_format="channels_last",
                use_bias=self.use_bias if use_bias is None else use_bias,
                kernel_initializer=fan_out_normal(),
                dtype=self.dtype,
                name=name,
            )
        )
        return layers

    def norm(self, name, momentum=0.9):
        """Returns our own batch norm, outside blocks too, for its fused kernel."""
        return SeriesBatchNormalization(
            momentum, synchronized=self.synchronized, dtype=self.dtype, name=name
        )

    def relu(self, name):
        return keras.layers.ReLU(dtype=self.dtype, name=name)
