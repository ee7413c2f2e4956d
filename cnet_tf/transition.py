"""What stands between continuous blocks: changes of width and stride."""

import keras

from cnet_tf.rate import SeriesChain


@keras.saving.register_keras_serializable("cnet_tf")
class Transition(keras.layers.Layer):
    """y = activation(skip(x) + stitch branch(x)): one residual block, not an ODE.

    The baselines' residual blocks are the same layer, with other skips.

    Args:
        filters: Channels of the output.
        strides: Of the skip and of one convolution of the branch. Default 1.
        branch: Operations of the branch, see `SeriesChain`.
        skip: Operations of the skip. Default `("conv1x1",)`; `()` is the identity.
        stitch: stitch_eps, factor of the branch. Default 1.
        use_bias: Of the convolutions of the branch. Default True.
        skip_bias: Of the convolution of the skip. Default False.
        activation: After the sum, by name. Default None.
        strided: Which convolution of the branch has the stride. Default 0, the first.
        padding: `"symmetric"` (default) or `"same"`, see `SeriesConv2D`.
        synchronized: Of the norms, see `SeriesBatchNormalization`. Default False.

    Shapes: (batch, height, width, channels) -> (batch, height/s, width/s, filters).
    """

    def __init__(
        self,
        filters,
        strides=1,
        branch=("conv", "relu", "norm", "conv", "relu"),
        skip=("conv1x1",),
        stitch=1.0,
        use_bias=True,
        skip_bias=False,
        activation=None,
        strided=0,
        padding="symmetric",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._config = {
            "filters": filters,
            "strides": strides,
            "branch": tuple(branch),
            "skip": tuple(skip),
            "stitch": stitch,
            "use_bias": use_bias,
            "skip_bias": skip_bias,
            "activation": activation,
            "strided": strided,
            "padding": padding,
            "synchronized": synchronized,
        }
        self.stitch = stitch
        shared = {
            "padding": padding,
            "synchronized": synchronized,
            "dtype": self.dtype_policy,
        }
        self.branch = SeriesChain(
            branch, filters, strides, use_bias, strided, name="branch", **shared
        )
        self.skip = SeriesChain(
            skip, filters, strides, skip_bias, name="skip", **shared
        )
        self.activation = keras.activations.get(activation)

    @property
    def series(self):
        return [*self.branch.series, *self.skip.series]

    def build(self, input_shape):
        self.branch.build(input_shape)
        self.skip.build(input_shape)

    def call(self, x, training=None):
        branch = self.branch(x, training=training)
        if self.stitch != 1:
            branch = self.stitch * branch
        return self.activation(self.skip(x, training=training) + branch)

    def compute_output_shape(self, input_shape):
        return self.branch.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), **self._config}
