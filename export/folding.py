"""Makes inference graphs with batch norms, step and horizon folded into the kernels.

A slope enters the next state as x + f k with a constant f = h b_i: an affine map after
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
from cnet_tf.model_graph import cloned, is_graph
from cnet_tf.runge_kutta import advance, stage_times
from cnet_tf.series import ForwardPass, surface
from cnet_tf.tableaus import get_scheme
from export.affine import Affine, Function, Linear, Padding, folded
from export.layer_arithmetic import operations


def fold(model) -> keras.Model:
    """Returns a model with the same outputs and fewer operations.

    Folds blocks and Sequential models within the model and copies their current
    weights. Shares unknown layers, and layers that stand alone, unchanged.

    Args:
        model: A functional or Sequential model in float32.
    """
    if type(model) is keras.Sequential:
        inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in model.inputs]
        return keras.Model(inputs, FoldedChain(model)(*inputs), name=model.name)
    return cloned(model, _folded_part)


def _folded_part(layer):
    # Not of a subclass, whose arithmetic may differ.
    if type(layer) is ContinuousBlock:
        return FoldedBlock(layer)
    if type(layer) is keras.Sequential:
        return FoldedChain(layer)
    return cloned(layer, _folded_part) if is_graph(layer) else layer


class _Folded(keras.layers.Layer):
    """Holds frozen weights; equal ones, as for steps of one cell, are stored once."""

    def __init__(self, name):
        super().__init__(name=name, trainable=False, dtype="float32")
        self._stored = {}
        self._shared = []
        self.built = True

    def _chain(self, layer, depth, factor=1.0):
        """Returns a function that computes `factor` times the layer at that depth."""
        functions = [
            _MAKERS[type(operation)](operation, self._weight)
            for operation in folded(self._operations(layer, depth), factor)
        ]

        def run(x):
            for function in functions:
                x = function(x)
            return x

        return run

    def _operations(self, layer, depth) -> list:
        if type(layer) is keras.Sequential:
            parts = (self._operations(part, depth) for part in layer.layers)
            return [operation for part in parts for operation in part]
        # Within a block, a functional model reads its series at the current depth.
        if depth is surface:
            layer = _folded_part(layer)
        found = operations(layer, depth)
        # Keras must track the layers whose weights are used unchanged.
        self._shared += [o.layer for o in found if getattr(o, "layer", None)]
        return found

    def _weight(self, value):
        """Stores a value as a frozen weight; equal values share one."""
        value = np.asarray(value, "float32")
        # A string, because Keras tracks this dict.
        key = f"{value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        if key not in self._stored:
            self._stored[key] = self.add_weight(
                shape=value.shape, initializer="zeros", trainable=False
            )
            self._stored[key].assign(value)
        return self._stored[key]


class FoldedChain(_Folded):
    """The layers of a Sequential model, folded."""

    def __init__(self, model: keras.Sequential):
        super().__init__(model.name)
        self.compute_output_shape = model.compute_output_shape
        self._run = self._chain(model, surface)

    def call(self, x, training=None, mask=None):
        return self._run(x)


class FoldedBlock(_Folded):
    """A block with every evaluation of its rate folded, with the slope's factor."""

    def __init__(self, block: ContinuousBlock):
        super().__init__(block.name)
        tableau = get_scheme(block.scheme)
        # One factor for all stages. A factor for each would leave fewer products, but
        # store the kernels of a cell once per factor.
        unit = _most_common(tableau)
        factor = float(unit * Fraction(block.horizon) / block.steps)
        self._a, self._b = (
            [[c / unit for c in row] for row in rows]
            for rows in (tableau.a, [tableau.b])
        )

        def at(time):
            return lambda: ForwardPass(block.restriction).at(time)

        self._evaluations = [
            [
                self._chain(block.rate, at(time), factor)
                for time in stage_times(tableau, n, block.steps)
            ]
            for n in range(block.steps)
        ]

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, x, training=None, mask=None):
        for stages in self._evaluations:
            slopes = []
            for row, stage in zip(self._a, stages, strict=True):
                slopes.append(stage(advance(x, 1, row, slopes)))
            x = advance(x, 1, self._b[0], slopes)
        return x


def _most_common(tableau) -> Fraction:
    """Finds the most frequent nonzero coefficient of slopes; the last one in a tie."""
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
    # TensorFlow's own operation takes zeros on every side as an attribute, as does
    # ONNX. `ops.conv` needs a pad before it; for TFLite, the converter inserts one.
    padding, m = "SAME", operation.padding
    if m != "same":
        padding = [[0, 0], [m, m], [m, m], [0, 0]] if m else "VALID"
    if operation.depthwise:
        strides = (1, *operation.strides, 1)
        convolve = functools.partial(
            tf.nn.depthwise_conv2d, filter=kernel, strides=strides, padding=padding
        )
    else:
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


def _padding_function(operation, weight):
    m = operation.margin
    return lambda x: ops.pad(x, [[0, 0], [m, m], [m, m], [0, 0]])


_MAKERS = {
    Linear: _linear_function,
    Affine: _affine_function,
    Padding: _padding_function,
    Function: lambda operation, weight: operation.function,
}
