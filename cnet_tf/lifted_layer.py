"""Any Keras layer with weights that are functions of depth.

    y = layer(x; theta(t)),    theta(t) = sum_k phi_k(t) theta_k

`lift` turns a layer, or a functional or Sequential model, into the rate of a
`ContinuousBlock`: the same model, with its weighted layers replaced by lifted ones.
"""

import contextlib
import contextvars
import functools
import random

import keras
from keras import ops

from cnet_tf.basis import get_basis
from cnet_tf.fresh_layer import fresh
from cnet_tf.kernels import add_bias
from cnet_tf.model_graph import (
    Untracked,
    children,
    cloned,
    is_graph,
    layers_of,
    pattern_of,
)
from cnet_tf.paths import named_variables
from cnet_tf.series import SeriesLayer, depth_in_force, initial_series
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.slicewise import slicewise_constraint, slicewise_regularizer

PACKAGE = "cnet_tf"


_no_draws = contextvars.ContextVar("no_draws", default=False)


@contextlib.contextmanager
def without_draws():
    """Makes lifted layers that are built inside start as constant functions of depth.

    For nets whose weights are read from elsewhere: K copies of a layer are built only
    for their draws, and a description may ask for many.
    """
    token = _no_draws.set(True)
    try:
        yield
    finally:
        _no_draws.reset(token)


@keras.saving.register_keras_serializable(PACKAGE)
class LiftedLayer(SeriesLayer):
    """A Keras layer whose weights are parameter series, read at the depth in force.

    Names, initialisers, regularisers, constraints, dtype policy and the trainable flag
    are those of the layer. Each theta_k is a separate draw. Regularisers and
    constraints see one theta_k at a time.

    Args:
        layer: A `keras.layers.Layer`. It is a pattern: copies of it are built, the
            layer itself is not changed, and the values of its weights are not used.
        basis, nodes: See `SeriesLayer`.

    Call arguments: those of the layer.

    Raises:
        ValueError: unknown basis, K is not a size of that basis, or (when it is built)
            the layer has state beyond its weights and that of random generators.
    """

    def __init__(self, layer, **kwargs):
        if isinstance(layer, dict):
            layer = unbuilt = keras.saving.deserialize_keras_object(layer)
        else:
            unbuilt = _spare_copy(layer)
        direct = _direct(layer)
        # Keras derives what to build and what to pass on from these signatures.
        self.call = _with_signature(self._call, layer.call)
        self.build = _with_signature(self.build, layer.build)
        super().__init__(
            **{
                "name": layer.name,
                "dtype": layer.dtype_policy,
                "trainable": layer.trainable,
                **kwargs,
                # Otherwise the pattern adds that loss itself.
                "activity_regularizer": layer.activity_regularizer if direct else None,
            }
        )
        self.supports_masking = layer.supports_masking
        # Its weights are meaningless; hidden, so that files do not hold them.
        self._pattern = Untracked(_copy(unbuilt))
        # Kept for configs. While Keras reads or writes a file, it knows objects by
        # their `id`, which is that of a later one if the first is gone: it would take
        # the two for one.
        self._unbuilt = Untracked(unbuilt)
        self._direct = direct
        self._frozen = [i for i, v in enumerate(layer.weights) if not v.trainable]

    def build(self, *args, **kwargs):
        args, kwargs = as_tuples(args), as_tuples(kwargs)
        pattern = pattern_of(self)
        more = 0 if _no_draws.get() else self.basis.size - 1
        copies = [pattern, *(_copy(pattern) for _ in range(more))]
        for layer in copies:
            _build(layer, *args, **kwargs)
        copies += [pattern] * (self.basis.size - len(copies))
        # A layer within it may be frozen; what stays so is state, not a weight.
        frozen = [i for i, v in enumerate(pattern.weights) if not v.trainable]
        pattern.trainable = False  # Keras passes on what changes.
        pattern.trainable = True
        state = [v for v in pattern.weights if not v.trainable]
        if state:
            raise ValueError(
                f"layer: expected weights and random generators only. Received layer "
                f"{pattern.name!r}, a {type(pattern).__name__}, which updates "
                f"{state[0].name!r} itself: leave it out of the unit. If that is a "
                "batch norm inside it, write the layer as a functional model."
            )
        paths = {id(v): path for path, v in named_variables(pattern).items()}
        for i, weight in enumerate(pattern.weights):
            series = self.add_series(
                paths[id(weight)].replace("/", "_"),
                weight.shape,
                _drawn([layer.weights[i] for layer in copies], self.basis),
                dtype=weight.dtype,
                # The layer casts what it reads, once per evaluation.
                autocast=False,
                regularizer=slicewise_regularizer(weight.regularizer),
                constraint=slicewise_constraint(weight.constraint),
            )
            if i in {*self._frozen, *frozen}:
                series.variable.trainable = False
        # Set here, because the direct arithmetic does not call the pattern.
        self.input_spec = pattern.input_spec
        # Tracked here, so that draws continue from where they were.
        weights = {id(v) for v in pattern.weights}
        self.seeds = [v for v in pattern.variables if id(v) not in weights]

    def _call(self, *args, **kwargs):
        with depth_in_force() as depth:
            values = [depth(series) for series in self.series]
            keeps_losses = depth.forward.keeps_losses
        if self._direct:
            return self._direct(pattern_of(self), values, *args, **kwargs)
        pattern = pattern_of(self)
        reads = [*zip(pattern.weights, values, strict=True)]
        reads += [(seed, seed.value) for seed in self.seeds]
        with keras.StatelessScope(reads, collect_losses=True) as scope:
            outputs = pattern(*args, **kwargs)
        if len(pattern.weights) > len(values):
            raise ValueError(
                "layer: expected weights that are there once it is built. Received "
                f"{self.name!r}, which makes {pattern.weights[-1].path!r} when it is "
                "called: let that be a layer of the unit."
            )
        if scope.losses and not keeps_losses:
            raise ValueError(
                "unroll=False, recompute=True: expected a unit that adds no losses. "
                f"Received layer {self.name!r}, which does: leave these settings out."
            )
        for loss in scope.losses:
            self.add_loss(loss)
        for seed, before in reads[len(values) :]:
            if (after := scope.get_current_value(seed)) is not before:
                seed.assign(after)
        return outputs

    def compute_output_spec(self, *args, **kwargs):
        return pattern_of(self).compute_output_spec(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        pattern = pattern_of(self)
        try:
            return pattern.compute_output_shape(*args, **kwargs)
        except NotImplementedError:  # Keras asks the call then, and so do we.
            specs = pattern.compute_output_spec(_symbols(pattern, *args))
            return keras.tree.map_structure(lambda spec: spec.shape, specs)

    def compute_mask(self, *args, **kwargs):
        return pattern_of(self).compute_mask(*args, **kwargs)

    def get_build_config(self):
        return pattern_of(self).get_build_config()

    def get_config(self):
        config = super().get_config()
        config.pop("activity_regularizer", None)  # In the config of the layer.
        return {
            **config,
            "layer": keras.saving.serialize_keras_object(self._unbuilt.layer),
        }


def _drawn(variables, basis):
    """Returns an initializer that reads theta_k from the k-th variable when called."""

    def initializer(shape, dtype=None):
        draws = [variable.value for variable in variables]
        return initial_series(draws, basis, dtype)

    return initializer


def _with_signature(function, pattern):
    @functools.wraps(pattern)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def _copy(layer):
    """Returns an unbuilt, unfrozen layer with the same settings and its own draws."""
    return fresh(layer, trainable=True)


def _spare_copy(layer):
    """Returns a copy that takes no seed, as it is not trained, of what is."""
    state = random.getstate()  # Of the generator that Keras takes seeds from.
    try:
        return _copy(layer)
    finally:
        random.setstate(state)


def _build(layer, *args, **kwargs):
    """Builds a layer, also one that Keras builds, in part, by calling it."""
    if type(layer).build is not keras.layers.Layer.build or not children(layer):
        layer.build(*args, **kwargs)
    unbuilt = [
        part.name
        for part in layers_of(layer)
        if not part.built and type(part).build is not keras.layers.Layer.build
    ]
    shapes = [*args, *kwargs.values()]
    if unbuilt and len(shapes) != 1:
        raise ValueError(
            "layer: expected a layer of several inputs that builds its parts in "
            f"`build`. Received {layer.name!r}, which leaves {unbuilt[0]!r} to its "
            "first call: build that there, too."
        )
    if unbuilt:
        layer(_symbols(layer, *shapes))


def as_tuples(shapes):
    """Returns a nest of shapes as tuples; files hold lists, which some refuse."""
    return keras.tree.map_shape_structure(lambda shape: shape and tuple(shape), shapes)


def _symbols(layer, shapes):
    """Returns symbolic inputs of a layer for a nest of shapes."""
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor(shape, layer.compute_dtype), shapes
    )


def _convolution(layer, values, inputs):
    kernel, *bias = (ops.cast(v, layer.compute_dtype) for v in values)
    outputs = layer.convolution_op(inputs, kernel)
    if bias and layer.data_format == "channels_last":
        outputs = add_bias(outputs, bias[0])
    elif bias:
        outputs = outputs + ops.reshape(bias[0], (1, -1) + (1,) * layer.rank)
    return outputs if layer.activation is None else layer.activation(outputs)


# Layers that are computed from theta(t) directly: no scope of values, fewer operations.
_DIRECT = {
    keras.layers.Conv1D: _convolution,
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv3D: _convolution,
}


def _direct(layer):
    """Returns a function that computes a layer from values, or None: use a scope."""
    if getattr(layer, "padding", None) == "causal":
        return None  # Keras pads in `call`, not in `convolution_op`.
    return _DIRECT.get(type(layer))


def lift(unit, basis="constant", nodes=1, dtype=None):
    """Returns the rate R(theta(t), x) of a unit: its weights become series in a basis.

    Args:
        unit: A Keras layer, or a functional or Sequential model of layers. Batch norms
            become series norms, layers without weights are copied, series layers are
            rebuilt in this basis, and all other layers become `LiftedLayer`s.
        basis: A key of `BASES`. Default `"constant"`.
        nodes: K >= 1. Default 1.
        dtype: Dtype of the states, which models do not cast. Default: that of a model's
            inputs, so float32 under any policy.

    Raises:
        ValueError: a part of it is a subclassed model.
    """

    get_basis(basis, nodes)  # Refuses bad arguments with our own message.
    made = {}

    def part(layer):
        # Nested models may share a layer.
        if id(layer) not in made:
            made[id(layer)] = _part(layer)
        return made[id(layer)]

    def _part(layer):
        if is_graph(layer):
            return cloned(layer, part, dtype)
        if isinstance(layer, SeriesLayer):
            pattern = pattern_of(layer)
            return fresh(layer, basis=basis, nodes=nodes, layer=pattern)
        if isinstance(layer, keras.layers.BatchNormalization):
            return SeriesBatchNormalization.of(layer, basis, nodes)
        if isinstance(layer, keras.Model):
            raise ValueError(
                "unit: expected a layer, or a functional or Sequential model. Received "
                f"{layer.name!r}, a {type(layer).__name__}, whose layers Keras does "
                "not list: write it as a functional model."
            )
        if not isinstance(layer, keras.layers.Layer):
            # An operation of a functional model, such as a sum written `x + y`.
            return fresh(layer)
        if layer.built and not layer.weights:
            return fresh(layer)
        return LiftedLayer(layer, basis=basis, nodes=nodes)

    return part(unit)


def basis_of(unit):
    """Returns the `Basis` of a lifted rate, or None if nothing was lifted."""
    for layer in layers_of(unit):
        if isinstance(layer, SeriesLayer):
            return layer.basis
    return None
