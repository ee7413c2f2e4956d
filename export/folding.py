"""Inference graphs with batch norms, step and horizon folded into the kernels.

At inference a batch norm is affine, y = s x + d per channel with

    s = gamma / sqrt(sigma^2 + epsilon),    d = beta - s mu,

and a slope enters the next state as x + f k with a constant f = h b_i. What is exact is
folded, up to rounding:

    s (W x + b) + d           = (s W) x + (s b + d)
    s relu(W x + b)           = sign(s) relu(|s| W x + |s| b)       relu is homogeneous
    W (s x) + b               = (W s) x + b                         along input channels

A shift d in front of a convolution stays: the padding is zero, and moved behind the
convolution d would be missing at the border.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from fractions import Fraction

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.net import Net
from cnet_tf.rate import SeriesChain, SeriesConv2D, SeriesDense, SeriesScale
from cnet_tf.runge_kutta import StageTime, advance
from cnet_tf.series import Depth, ForwardPass, surface
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.tableaus import get_scheme
from cnet_tf.transition import Transition


@dataclasses.dataclass(frozen=True)
class Linear:
    """W x + b: a convolution of these strides, or a dense layer where they are None.

    Attributes:
        kernel: (height, width, in, out) or (in, out).
        bias: (out,).
    """

    kernel: np.ndarray
    bias: np.ndarray
    strides: int | None = None

    @property
    def pads(self) -> bool:
        """Whether zeros are among what it sees."""
        return self.kernel.ndim == 4 and self.kernel.shape[:2] != (1, 1)


@dataclasses.dataclass(frozen=True)
class Affine:
    """scale x + shift, both (channels,) or scalar."""

    scale: np.ndarray
    shift: np.ndarray


@dataclasses.dataclass(frozen=True)
class Activation:
    """An elementwise function."""

    function: Callable


def fold(net: Net) -> "FoldedNet":
    """The net as a layer of the same logits with everything foldable folded.

    Args:
        net: A built net. Its series are copied as they are now; the plain layers at
            its end are shared.
    """
    return FoldedNet(net)


def read(chain: SeriesChain, depth: Depth) -> list:
    """The operations of a chain at a depth, as numbers."""

    def at(series):
        return ops.convert_to_numpy(depth(series)).astype("float64")

    return [_READERS.get(type(link), _activation)(link, at) for link in chain.links]


def _conv(link, at):
    bias = at(link.bias) if link.use_bias else np.zeros(link.filters)
    return Linear(at(link.kernel), bias, link.strides)


def _dense(link, at):
    bias = at(link.bias) if link.use_bias else np.zeros(link.units)
    return Linear(at(link.kernel), bias)


def _norm(link, at):
    scale = at(link.gamma) / np.sqrt(at(link.moving_variance) + link.epsilon)
    return Affine(scale, at(link.beta) - scale * at(link.moving_mean))


def _scale(link, at):
    return Affine(at(link.alpha), np.zeros(()))


def _activation(link, at):
    return Activation(link.activation)


_READERS = {
    SeriesConv2D: _conv,
    SeriesDense: _dense,
    SeriesBatchNormalization: _norm,
    SeriesScale: _scale,
}


def folded(operations: list, factor: float = 1.0) -> list:
    """Shorter operations whose result is `factor` times that of the given ones."""
    done = []
    for operation in [*operations, Affine(np.array(factor), np.zeros(()))]:
        if isinstance(operation, Affine):
            _append_affine(done, operation)
        elif isinstance(operation, Linear) and done and isinstance(done[-1], Affine):
            _append_linear(done, operation, done.pop())
        else:
            done.append(operation)
    return done


def _append_affine(done, new):
    """Appends an affine map, or folds it into what is there already."""
    last = done[-1] if done else None
    scale, shift = new.scale, new.shift
    if isinstance(last, Affine):
        done.pop()
        _append_affine(done, Affine(scale * last.scale, scale * last.shift + shift))
    elif isinstance(last, Linear):
        done[-1] = _scaled(last, scale, shift)
    else:
        if len(done) > 1 and _is_relu(last) and isinstance(done[-2], Linear):
            done[-2] = _scaled(done[-2], np.abs(scale), 0.0)
            # relu(0 x) is 0 whatever the sign of a zero is.
            scale = np.where(scale < 0, -1.0, 1.0)
        if np.any(scale != 1) or np.any(shift != 0):
            done.append(Affine(scale, shift))


def _append_linear(done, linear, before):
    """Appends a linear map with what it can take of the affine one before it."""
    scale, shift = (
        np.broadcast_to(v, linear.kernel.shape[-2:-1])
        for v in (before.scale, before.shift)
    )
    if not linear.pads:
        axes = tuple(range(linear.kernel.ndim - 2))
        bias = linear.bias + shift @ linear.kernel.sum(axis=axes)
        linear = dataclasses.replace(linear, bias=bias)
        shift = np.zeros_like(shift)
    if np.all(shift == 0) or np.all(np.abs(scale) == 1):
        kernel = linear.kernel * scale[:, None]
        linear = dataclasses.replace(linear, kernel=kernel)
        # s x + d = s (x + s d) for signs s.
        scale, shift = np.ones_like(scale), scale * shift
    if np.any(scale != 1) or np.any(shift != 0):
        done.append(Affine(scale, shift))
    done.append(linear)


def _scaled(linear, scale, shift):
    """s (W x + b) + d as one linear map."""
    kernel, bias = linear.kernel * scale, linear.bias * scale + shift
    return dataclasses.replace(linear, kernel=kernel, bias=bias)


def _is_relu(operation):
    return (
        isinstance(operation, Activation)
        and operation.function is keras.activations.relu
    )


class FoldedNet(keras.layers.Layer):
    """A net at inference with folded kernels: images -> logits.

    Equal arrays, such as those of the steps that read the same cell, are stored once.

    Args:
        net: A built `Net`.
    """

    def __init__(self, net: Net):
        super().__init__(name=net.name, trainable=False, dtype="float32")
        self._stored = {}
        makers = {
            SeriesChain: lambda part: self._chain(part, surface()),
            Transition: self._transition,
            ContinuousBlock: self._block,
        }
        self.parts = [makers.get(type(part), lambda p: p)(part) for part in net.parts]
        self.built = True

    def call(self, x, training=None):
        for part in self.parts:
            x = part(x)
        return x

    def _chain(self, chain, depth, factor=1.0):
        """A function that applies `factor` times the chain at that depth."""
        functions = [
            _MAKERS[type(operation)](operation, self._weight)
            for operation in folded(read(chain, depth), factor)
        ]

        def run(x):
            for function in functions:
                x = function(x)
            return x

        return run

    def _transition(self, part):
        branch = self._chain(part.branch, surface(), part.stitch)
        skip = self._chain(part.skip, surface())
        return lambda x: part.activation(skip(x) + branch(x))

    def _block(self, part):
        tableau = get_scheme(part.scheme)
        # One factor for all stages, though a factor each would leave fewer products:
        # kernels of a cell would then be stored once for every factor.
        unit = _most_common(tableau)
        factor = float(unit * Fraction(part.horizon) / part.steps)
        a, b = (
            [[c / unit for c in row] for row in rows]
            for rows in (tableau.a, [tableau.b])
        )
        forward = ForwardPass(part.restriction)
        steps = [
            [
                self._chain(part.rate, forward.at(StageTime(n, c, part.steps)), factor)
                for c in tableau.c
            ]
            for n in range(part.steps)
        ]

        def run(x):
            for stages in steps:
                slopes = []
                for row, stage in zip(a, stages, strict=True):
                    slopes.append(stage(advance(x, 1, row, slopes)))
                x = advance(x, 1, b[0], slopes)
            return x

        return run

    def _weight(self, value):
        """A frozen weight; equal values share one."""
        value = np.asarray(value, "float32")
        # A string, as Keras tracks this dict.
        key = f"{value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        if key not in self._stored:
            self._stored[key] = self.add_weight(
                shape=value.shape, initializer="zeros", trainable=False
            )
            self._stored[key].assign(value)
        return self._stored[key]


def _most_common(tableau) -> Fraction:
    """The coefficient that a slope meets most often; the last one among equals."""
    uses = [c for row in (*tableau.a, tableau.b) for c in row if c != 0]
    return max(reversed(uses), key=uses.count)


def _linear_function(operation, weight):
    kernel = weight(operation.kernel)
    shift = tf.identity
    if np.any(operation.bias):
        # TensorFlow's own operation, which converters merge into the linear one.
        shift = functools.partial(tf.nn.bias_add, bias=weight(operation.bias))
    if operation.strides is None:
        return lambda x: shift(ops.matmul(x, kernel))
    convolve = functools.partial(
        ops.conv,
        kernel=kernel,
        strides=operation.strides,
        padding="same",
        data_format="channels_last",
    )
    return lambda x: shift(convolve(x))


def _affine_function(operation, weight):
    scales, shifts = np.any(operation.scale != 1), np.any(operation.shift != 0)
    scale = weight(operation.scale) if scales else None
    shift = weight(operation.shift) if shifts else None

    def run(x):
        x = x * scale if scales else x
        return x + shift if shifts else x

    return run


_MAKERS = {
    Linear: _linear_function,
    Affine: _affine_function,
    Activation: lambda operation, weight: operation.function,
}
