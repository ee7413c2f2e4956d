"""Continuous nets as plain Keras models, which load without this package.

Every step of every block is unrolled into layers: `Conv2D`, `BatchNormalization`,
`Rescaling` by h a_ij, `Add`. Evaluations that read the same theta share their layers.
"""

import collections
import functools
from fractions import Fraction

import keras
from keras import ops

from cnet_tf import flat_graph
from cnet_tf.adapted import settle
from cnet_tf.continuous_block import ContinuousBlock, check_call
from cnet_tf.flat_graph import Call
from cnet_tf.model_graph import (
    cloned,
    inputs_like,
    is_graph,
    layers_of,
    pattern_of,
)
from cnet_tf.runge_kutta import stage_times
from cnet_tf.scale import Scale
from cnet_tf.series import ForwardPass, SeriesLayer, surface
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.surgery import blocks_of, check_reached, copied
from cnet_tf.tableaus import get_scheme
from cnet_tf.transformer import PositionEmbedding


def to_plain(net) -> keras.Model:
    """Returns the same model, built from Keras layers only.

    The logits agree to rounding, and bit for bit for Euler with N = K = eps. Nested
    models are kept, except those that contain blocks. The plain model can be trained
    further, as a net of fixed depth. In training, if several stages share a layer, each
    of them moves its statistics in turn.

    Args:
        net: A built functional or Sequential model; it is not modified.

    Returns:
        A functional model whose config names no class of this package.

    Raises:
        ValueError: a subclassed model; a block that overrides `call`, is called with
            `training`, or is inside a layer that is not a model; a layer of another
            package; or a mask in front of a position embedding, or of a block with
            attention or a recurrent layer.
    """
    if not is_graph(net):
        raise ValueError(
            "net: expected a functional or Sequential model. Received "
            f"{getattr(net, 'name', net)!r}, a {type(net).__name__}."
        )
    graph = flat_graph.read(net, _holds_blocks)
    check_reached(blocks_of(net), {id(call.operation) for call in graph.calls})
    maker = _Maker(_taken(graph))
    inputs = inputs_like(net)
    known = dict(zip(graph.inputs, keras.tree.flatten(inputs), strict=True))
    flat_graph.run(graph.calls, known, maker.function)
    outputs = keras.tree.map_structure(known.get, graph.outputs)
    plain = keras.Model(inputs, outputs, name=net.name)
    maker.fill()
    return plain


def _holds_blocks(model) -> bool:
    return any(isinstance(part, ContinuousBlock) for part in layers_of(model))


def _taken(graph) -> set:
    """Returns the names that belong to exactly one operation of the graph."""
    names = [
        call.operation.name
        for call in {id(call.operation): call for call in graph.calls}.values()
    ]
    return {name for name in names if names.count(name) == 1}


class _Maker:
    """Makes each plain layer once, and assigns its weights after it is built."""

    def __init__(self, names):
        self._names = names
        self._made = {}
        self._values = []
        self._calls = collections.Counter()  # Of each block.

    def function(self, call: Call):
        """Returns the function that replaces a call of the net."""
        part = call.operation
        if isinstance(part, ContinuousBlock):
            return functools.partial(self._without_mask, part)
        name = part.name if part.name in self._names else call.name
        twin = self.layer(part, surface, name)
        return _unmasked(part, twin) if type(part) in _WITHOUT_MASKS else twin

    def layer(self, part, depth, name):
        """Returns the plain layer that replaces a layer at a depth.

        Args:
            part: A layer, model or operation.
            depth: Function that returns the `Depth` at which its series are read.
            name: Name of the plain layer, if a new one is made.
        """
        rows = ()
        if isinstance(part, SeriesLayer):
            rows = tuple(depth().row(series.basis) for series in part.series_read)
        key = id(part), rows
        if key not in self._made:
            self._made[key] = part, self._plain(part, depth, name)
        return self._made[key][1]

    def _plain(self, part, depth, name):
        if is_graph(part):
            inside = cloned(part, lambda x: self._plain(x, depth, x.name))
            inside.name = name
            return inside
        pattern = pattern_of(part)
        held = values = list(getattr(part, "weights", ()))
        if isinstance(part, SeriesLayer):
            held = [one.variable for one in part.series_read]
            values = [depth()(one) for one in part.series_read]
        learns = [variable.trainable for variable in held]
        make = _PLAIN.get(type(pattern), _copy)
        twin, values = make(pattern, values)
        if twin is part:
            return part
        twin.name = name
        if isinstance(part, keras.layers.Layer):
            twin.trainable = part.trainable
        self._values.append((twin, values, learns))
        return twin

    def _without_mask(self, block, x, mask=None, training=None):
        """Calls `_unrolled`, but refuses masks that only its first layer would see."""
        check_call(block)
        if training is not None:
            raise ValueError(
                "net: expected blocks that are called without `training`. Received "
                f"{block.name!r} with training={training}, which would be lost in "
                "plain layers."
            )
        if mask is not None or getattr(x, "_keras_mask", None) is not None:
            for layer in layers_of(block.rate):
                pattern = pattern_of(layer)
                if isinstance(
                    pattern, (keras.layers.MultiHeadAttention, keras.layers.RNN)
                ):
                    raise ValueError(
                        f"net: expected no mask in front of block {block.name!r}. "
                        f"Received one, which {layer.name!r} reads at every evaluation:"
                        " plain layers lose it after the first sum."
                    )
        x = self._unrolled(block, x)
        if block.activity_regularizer is None:
            return x
        return keras.layers.Activation(
            "linear",
            activity_regularizer=block.activity_regularizer,
            dtype=block.dtype_policy,
            name=f"{self._call_name(block)}_activity",
        )(x)

    def _call_name(self, block):
        """Returns the name of a block, numbered from its second call on."""
        calls = self._calls[id(block)]
        return block.name if calls == 1 else f"{block.name}_call_{calls}"

    def _unrolled(self, block, x):
        """Returns the symbolic x(1) of a block: one layer for each sum and product."""
        self._calls[id(block)] += 1
        name = self._call_name(block)
        tableau = get_scheme(block.scheme)
        h = Fraction(block.horizon) / block.steps
        forward = ForwardPass(block.restriction)
        rate = flat_graph.read(block.rate) if is_graph(block.rate) else None
        for n in range(block.steps):
            slopes = []
            times = stage_times(tableau, n, block.steps)
            for i, (row, time) in enumerate(zip(tableau.a, times, strict=True)):
                place = f"{name}_{n}_{i}"
                state = _sum(x, h, row, slopes, f"{place}_state")

                def function(call, time=time, place=place):
                    return self.layer(
                        call.operation, lambda: forward.at(time), f"{place}_{call.name}"
                    )

                if rate is None:
                    call = Call(block.rate, (), (), {}, ())
                    slopes.append(function(call)(state))
                else:
                    slopes.append(rate.run([state], function))
            x = _sum(x, h, tableau.b, slopes, f"{name}_{n}")
        return x

    def fill(self):
        """Assigns the weights of all layers made."""
        for twin, values, learns in self._values:
            weights = getattr(twin, "weights", ())
            for variable, value in zip(weights, values, strict=True):
                variable.assign(ops.reshape(value, variable.shape))
            if len(learns) == len(weights):
                # Weights may be frozen one by one, in a layer that learns.
                for variable, free in zip(weights, learns, strict=True):
                    variable.trainable = variable.trainable and free
            settle(twin)


def _sum(x, h, coefficients, slopes, name):
    """Returns x + sum_i (h coefficient_i) slope_i, as `runge_kutta.advance` does."""
    terms = [x]
    for i, (coefficient, slope) in enumerate(zip(coefficients, slopes, strict=True)):
        factor = h * coefficient
        if factor == 0:
            continue
        if factor != 1:
            slope = keras.layers.Rescaling(
                float(factor), dtype=x.dtype, name=f"{name}_step_{i}"
            )(slope)
        terms.append(slope)
    if len(terms) == 1:
        return x
    return keras.layers.Add(dtype=x.dtype, name=f"{name}_sum")(terms)


def _copy(layer, values):
    if type(layer).__module__.partition(".")[0] != "keras":
        raise ValueError(
            f"net: expected layers of Keras and cnet_tf. Received {layer.name!r}, a "
            f"{type(layer).__name__} of {type(layer).__module__}, which a plain model "
            "could not load."
        )
    return copied(layer), values


def _norm(layer, values):
    twin = keras.layers.BatchNormalization(
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        center=layer.center,
        scale=layer.scale,
        synchronized=layer.synchronized,
        beta_regularizer=layer.beta_regularizer,
        gamma_regularizer=layer.gamma_regularizer,
        beta_constraint=layer.beta_constraint,
        gamma_constraint=layer.gamma_constraint,
        dtype=layer.dtype_policy,
    )
    return twin, values


def _scale(layer, values):
    # Keras has no layer with a scalar weight, so alpha becomes a constant.
    alpha = float(ops.convert_to_numpy(values[0]))
    return keras.layers.Rescaling(alpha, dtype=layer.dtype_policy), []


def _position(layer, values):
    # y = 1 * x + b: the only Keras layer whose bias can have two axes.
    shape = tuple(values[0].shape)
    twin = keras.layers.EinsumDense(
        "abc,c->abc", shape, bias_axes="bc", dtype=layer.dtype_policy
    )
    return twin, [ops.ones(shape[-1:]), values[0]]


# Class of a layer -> function (layer, values) that returns its plain form and values.
_PLAIN = {
    SeriesBatchNormalization: _norm,
    Scale: _scale,
    PositionEmbedding: _position,
}
# Layers whose plain form loses the mask of a sequence.
_WITHOUT_MASKS = (PositionEmbedding,)


def _unmasked(layer, twin):
    """Returns a function that calls a plain form, but refuses masked inputs."""

    def call(x):
        if getattr(x, "_keras_mask", None) is not None:
            raise ValueError(
                f"net: expected no mask in front of {layer.name!r}, whose plain form "
                "does not pass it on. Received one: build the net without mask_zero."
            )
        return twin(x)

    return call
