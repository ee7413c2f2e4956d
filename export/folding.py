"""Inference graphs with batch norms, step and horizon folded into the kernels.

A slope enters the next state as x + f k with a constant f = h b_i: an affine map behind
the rate, folded like the batch norms in it (`affine`).
"""

import functools
import hashlib
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
from export.affine import Activation, Affine, Linear, folded


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
    return Linear(at(link.kernel), bias, link.strides, link.margin)


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
    # TensorFlow's own operation takes the zeros on every side as an attribute, as ONNX
    # does; `ops.conv` needs a pad in front, and TFLite gets one from its converter.
    m = operation.margin
    padding = [[0, 0], [m, m], [m, m], [0, 0]] if m else "SAME"
    convolve = functools.partial(
        tf.nn.conv2d, filters=kernel, strides=operation.strides, padding=padding
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
