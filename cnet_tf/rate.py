"""The rate R(theta(t), x) of a block: series layers and chains of them."""

import keras
from keras import ops

from cnet_tf.series import SeriesLayer, constant_function, surface
from cnet_tf.series_norm import SeriesBatchNormalization

PACKAGE = "cnet_tf"


def _fan_out_normal(fan_out):
    """N(0, sqrt(2/fan_out)); drawn over the whole stack, so each theta_k has its own.

    He et al. 2015, arXiv 1502.01852, equation 14 (the backward form).
    """
    return keras.initializers.RandomNormal(stddev=(2.0 / fan_out) ** 0.5)


@keras.saving.register_keras_serializable(PACKAGE)
class SeriesConv2D(SeriesLayer):
    """y = x * W(t) + b(t), a 2D convolution with `same` padding, channels last.

    Args:
        filters: Channels of the output.
        kernel_size: Width and height of the kernel. Default 3.
        strides: Default 1.
        use_bias: Default True.
        basis, nodes: See `SeriesLayer`.

    Shapes: (batch, height, width, channels) -> (batch, height/s, width/s, filters).
    """

    def __init__(self, filters, kernel_size=3, strides=1, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.use_bias = use_bias

    def build(self, input_shape):
        k = self.kernel_size
        self.kernel = self.add_series(
            "kernel",
            (k, k, input_shape[-1], self.filters),
            _fan_out_normal(k * k * self.filters),
        )
        if self.use_bias:
            self.bias = self.add_series("bias", (self.filters,), "zeros")

    def call(self, x, depth=None, training=None):
        depth = depth or surface()
        y = ops.conv(
            x,
            depth(self.kernel),
            strides=self.strides,
            padding="same",
            data_format="channels_last",
        )
        return y + depth(self.bias) if self.use_bias else y

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        rows, columns = (
            None if n is None else -(-n // self.strides) for n in (height, width)
        )
        return (batch, rows, columns, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class SeriesDense(SeriesLayer):
    """y = x W(t) + b(t).

    Args:
        units: Features of the output.
        use_bias: Default True.
        basis, nodes: See `SeriesLayer`.

    Shapes: (.., features) -> (.., units).
    """

    def __init__(self, units, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias

    def build(self, input_shape):
        self.kernel = self.add_series(
            "kernel", (input_shape[-1], self.units), _fan_out_normal(self.units)
        )
        if self.use_bias:
            self.bias = self.add_series("bias", (self.units,), "zeros")

    def call(self, x, depth=None, training=None):
        depth = depth or surface()
        y = ops.matmul(x, depth(self.kernel))
        return y + depth(self.bias) if self.use_bias else y

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class SeriesScale(SeriesLayer):
    """y = alpha(t) x with a scalar series alpha, 0 at the start: skip-init.

    A residual branch that ends in it starts as the identity, and needs no norm.
    Reference: De and Smith 2020, arXiv 2002.10444.

    Args:
        initial: alpha at the start, for all t. Default 0.
        basis, nodes: See `SeriesLayer`.
    """

    def __init__(self, initial=0.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        self.alpha = self.add_series(
            "alpha", (), constant_function(self.initial, self.basis)
        )

    def call(self, x, depth=None, training=None):
        depth = depth or surface()
        return depth(self.alpha) * x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


# The operations a chain may name; anything else is an activation of Keras.
_OPERATIONS = {
    "conv": lambda filters, strides, use_bias, **kw: SeriesConv2D(
        filters, strides=strides, use_bias=use_bias, **kw
    ),
    "conv1x1": lambda filters, strides, use_bias, **kw: SeriesConv2D(
        filters, kernel_size=1, strides=strides, use_bias=use_bias, **kw
    ),
    "dense": lambda filters, strides, use_bias, **kw: SeriesDense(
        filters, use_bias=use_bias, **kw
    ),
    "norm": lambda filters, strides, use_bias, **kw: SeriesBatchNormalization(**kw),
    "scale": lambda filters, strides, use_bias, **kw: SeriesScale(**kw),
}
_STRIDED = ("conv", "conv1x1")


@keras.saving.register_keras_serializable(PACKAGE)
class SeriesChain(SeriesLayer):
    """R(theta(t), x): operations one after the other, all in the same basis.

    Args:
        operations: Names in order: `"conv"` (3x3), `"conv1x1"`, `"dense"`, `"norm"`,
            `"scale"` (skip-init), or the name of a Keras activation. A post-activation
            residual unit is `("conv", "relu", "norm", "conv", "relu", "norm")`.
        filters: Channels of every convolution, or units of every dense layer.
        strides: Stride of the first convolution. Default 1.
        use_bias: Biases of the convolutions and dense layers. Default True.
        basis, nodes: See `SeriesLayer`.

    Raises:
        ValueError: an operation has neither meaning.
    """

    def __init__(self, operations, filters, strides=1, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.operations = tuple(operations)
        self.filters = filters
        self.strides = strides
        self.use_bias = use_bias
        kind, nodes = self.basis.key
        self.links = []
        for i, name in enumerate(self.operations):
            if name in _OPERATIONS:
                link = _OPERATIONS[name](
                    filters,
                    strides,
                    use_bias,
                    basis=kind,
                    nodes=nodes,
                    dtype=self.dtype_policy,
                    name=f"{name}_{i}",
                )
                strides = 1 if name in _STRIDED else strides
            else:
                link = keras.layers.Activation(
                    _activation(name), dtype=self.dtype_policy, name=f"{name}_{i}"
                )
            self.links.append(link)

    def build(self, input_shape):
        for link in self.links:
            link.build(input_shape)
            input_shape = link.compute_output_shape(input_shape)
        self.series = [
            series
            for link in self.links
            if isinstance(link, SeriesLayer)
            for series in link.series
        ]

    def call(self, x, depth=None, training=None):
        alone = depth is None
        depth = depth or surface()
        for link in self.links:
            if isinstance(link, SeriesLayer):
                x = link(x, depth=depth, training=training)
            else:
                x = link(x)
        if alone:
            depth.forward.finish()
        return x

    def compute_output_shape(self, input_shape):
        for link in self.links:
            input_shape = link.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "operations": self.operations,
            "filters": self.filters,
            "strides": self.strides,
            "use_bias": self.use_bias,
        }


def _activation(name):
    try:
        return keras.activations.get(name)
    except ValueError:
        raise ValueError(
            f"operations: expected {', '.join(_OPERATIONS)} or an activation of Keras. "
            f"Received {name!r}."
        ) from None
