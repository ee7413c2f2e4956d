"""The rate R(theta(t), x) of a block: series layers and chains of them."""

import keras
from keras import ops

from cnet_tf.kernels import add_bias
from cnet_tf.series import SeriesLayer, constant_function, depth_in_force
from cnet_tf.series_norm import SeriesBatchNormalization

PACKAGE = "cnet_tf"

# Where zeros are added at the border of an image, see `SeriesConv2D`.
PADDINGS = ("same", "symmetric")


def _fan_out_normal(fan_out):
    """N(0, sqrt(2/fan_out)); drawn over the whole stack, so each theta_k has its own.

    He et al. 2015, arXiv 1502.01852, equation 14 (the backward form).
    """
    return keras.initializers.RandomNormal(stddev=(2.0 / fan_out) ** 0.5)


@keras.saving.register_keras_serializable(PACKAGE)
class SeriesConv2D(SeriesLayer):
    """y = x * W(t) + b(t), a 2D convolution padded with zeros, channels last.

    Padding matters at stride 2, where output pixel i of a 3x3 kernel is centred on
    input pixel 2i with `"symmetric"`, but on 2i + 1 with `"same"` if the size is even.

    Args:
        filters: Channels of the output.
        kernel_size: Width and height of the kernel. Default 3.
        strides: Default 1.
        use_bias: Default True.
        padding: `"same"` (default), as Keras and Flax have it: at stride s > 1 the
            zeros on both sides may differ by one, the size decides. `"symmetric"`:
            (kernel_size - 1) / 2 zeros on every side, as PyTorch nets have it.
        basis, nodes: See `SeriesLayer`.

    Shapes: (batch, height, width, channels) -> (batch, height/s, width/s, filters),
    rounded up, whatever the padding is.

    Raises:
        ValueError: unknown padding, or a symmetric one around an even kernel.
    """

    def __init__(
        self,
        filters,
        kernel_size=3,
        strides=1,
        use_bias=True,
        padding="same",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if padding not in PADDINGS:
            raise ValueError(
                f"padding: expected one of {', '.join(PADDINGS)}. Received {padding!r}."
            )
        if padding == "symmetric" and kernel_size % 2 == 0:
            raise ValueError(
                "kernel_size: expected an odd number with padding='symmetric'. "
                f"Received {kernel_size}."
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.use_bias = use_bias
        self.padding = padding

    @property
    def margin(self) -> int:
        """Zeros to add on every side; 0 where `same` adds the right ones itself."""
        symmetric = self.padding == "symmetric" and self.strides > 1
        return (self.kernel_size - 1) // 2 if symmetric else 0

    def build(self, input_shape):
        k = self.kernel_size
        self.kernel = self.add_series(
            "kernel",
            (k, k, input_shape[-1], self.filters),
            _fan_out_normal(k * k * self.filters),
        )
        if self.use_bias:
            self.bias = self.add_series("bias", (self.filters,), "zeros")

    def call(self, x):
        if m := self.margin:
            x = ops.pad(x, [[0, 0], [m, m], [m, m], [0, 0]])
        with depth_in_force() as depth:
            y = ops.conv(
                x,
                depth(self.kernel),
                strides=self.strides,
                padding="valid" if m else "same",
                data_format="channels_last",
            )
            return add_bias(y, depth(self.bias)) if self.use_bias else y

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
            "padding": self.padding,
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

    def call(self, x):
        with depth_in_force() as depth:
            y = ops.matmul(x, depth(self.kernel))
            return add_bias(y, depth(self.bias)) if self.use_bias else y

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

    def call(self, x):
        with depth_in_force() as depth:
            return depth(self.alpha) * x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


def _convolution(kernel_size):
    return lambda chain, strides, **kw: SeriesConv2D(
        chain.filters, kernel_size, strides, chain.use_bias, chain.padding, **kw
    )


# The operations a chain may name; anything else is an activation of Keras.
_OPERATIONS = {
    "conv": _convolution(3),
    "conv1x1": _convolution(1),
    "dense": lambda chain, strides, **kw: SeriesDense(
        chain.filters, chain.use_bias, **kw
    ),
    "norm": lambda chain, strides, **kw: SeriesBatchNormalization(
        chain.momentum, synchronized=chain.synchronized, **kw
    ),
    "scale": lambda chain, strides, **kw: SeriesScale(**kw),
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
        strides: Stride of one convolution. Default 1.
        use_bias: Biases of the convolutions and dense layers. Default True.
        strided: Which convolution has the stride, counted from 0. Default 0.
        padding: Of the convolutions, see `SeriesConv2D`. Default `"same"`.
        momentum, synchronized: Of the norms, see `SeriesBatchNormalization`. Default
            0.9 and False.
        basis, nodes: See `SeriesLayer`.

    Raises:
        ValueError: an operation has neither meaning, or no convolution has that place.
    """

    def __init__(
        self,
        operations,
        filters,
        strides=1,
        use_bias=True,
        strided=0,
        padding="same",
        momentum=0.9,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.operations = tuple(operations)
        self.filters = filters
        self.strides = strides
        self.use_bias = use_bias
        self.strided = strided
        self.padding = padding
        self.momentum = momentum
        self.synchronized = synchronized
        kind, nodes = self.basis.key
        convolutions = [i for i, o in enumerate(self.operations) if o in _STRIDED]
        chosen = convolutions[strided : strided + 1]
        if strides != 1 and convolutions and not chosen:
            raise ValueError(
                f"strided: expected 0 <= strided < {len(convolutions)}, the "
                f"convolutions. Received {strided}."
            )
        self.links = []
        for i, name in enumerate(self.operations):
            if name in _OPERATIONS:
                link = _OPERATIONS[name](
                    self,
                    strides if i in chosen else 1,
                    basis=kind,
                    nodes=nodes,
                    dtype=self.dtype_policy,
                    name=f"{name}_{i}",
                )
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

    def call(self, x, training=None):
        for link in self.links:
            x = link(x, training=training)
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
            "strided": self.strided,
            "padding": self.padding,
            "momentum": self.momentum,
            "synchronized": self.synchronized,
        }


def _activation(name):
    try:
        return keras.activations.get(name)
    except ValueError:
        raise ValueError(
            f"operations: expected {', '.join(_OPERATIONS)} or an activation of Keras. "
            f"Received {name!r}."
        ) from None
