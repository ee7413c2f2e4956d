"""Any Keras layer with weights that are functions of depth.

    y = layer(x; theta(t)),    theta(t) = sum_k phi_k(t) theta_k

`lift` turns a layer, or a functional or Sequential model, into the rate of a
`ContinuousBlock`: the same model, with its weighted layers replaced by lifted ones.
"""

import contextlib
import contextvars
import functools

import keras
from keras import ops

from cnet_tf.basis import get_basis
from cnet_tf.fresh_layer import fresh
from cnet_tf.kernels import add_bias
from cnet_tf.model_graph import cloned, is_graph, layers_of
from cnet_tf.series import SeriesLayer, depth_in_force, initial_series
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.slicewise import slicewise

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


class _Untracked:
    """Hides a layer from Keras: its weights are not the owner's."""

    def __init__(self, layer):
        self.layer = layer


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
            layer = keras.saving.deserialize_keras_object(layer)
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
        self._template = _Untracked(_copy(layer))
        self._direct = direct

    @property
    def template(self):
        """A copy of the layer with its settings; the copy's weights are meaningless."""
        return self._template.layer

    def build(self, *args, **kwargs):
        template = self.template
        more = 0 if _no_draws.get() else self.basis.size - 1
        copies = [template, *(_copy(template) for _ in range(more))]
        for layer in copies:
            layer.build(*args, **kwargs)
        copies += [template] * (self.basis.size - len(copies))
        state = [v for v in template.weights if not v.trainable]
        if state:
            raise ValueError(
                f"layer: expected weights and random generators only. Received layer "
                f"{template.name!r}, a {type(template).__name__}, which updates "
                f"{state[0].name!r} itself: leave it out of the unit. If that is a "
                "batch norm inside it, write the layer as a functional model."
            )
        for i, pattern in enumerate(template.weights):
            self.add_series(
                _name(pattern, template),
                pattern.shape,
                _drawn([layer.weights[i] for layer in copies], self.basis),
                dtype=pattern.dtype,
                # The layer casts what it reads, once per evaluation.
                autocast=False,
                regularizer=slicewise(pattern.regularizer),
                constraint=slicewise(pattern.constraint),
            )
        # Set here, because the direct arithmetic does not call the template.
        self.input_spec = template.input_spec
        # Tracked here, so that draws continue from where they were.
        weights = {id(v) for v in template.weights}
        self.seeds = [v for v in template.variables if id(v) not in weights]

    def _call(self, *args, **kwargs):
        with depth_in_force() as depth:
            values = [depth(series) for series in self.series]
        if self._direct:
            return self._direct(self.template, values, *args, **kwargs)
        reads = [*zip(self.template.weights, values, strict=True)]
        reads += [(seed, seed.value) for seed in self.seeds]
        with keras.StatelessScope(reads, collect_losses=True) as scope:
            outputs = self.template(*args, **kwargs)
        for loss in scope.losses:
            self.add_loss(loss)
        for seed in self.seeds:
            seed.assign(scope.get_current_value(seed))
        return outputs

    def compute_output_spec(self, *args, **kwargs):
        return self.template.compute_output_spec(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        return self.template.compute_output_shape(*args, **kwargs)

    def compute_mask(self, *args, **kwargs):
        return self.template.compute_mask(*args, **kwargs)

    def get_build_config(self):
        return self.template.get_build_config()

    def get_config(self):
        config = super().get_config()
        config.pop("activity_regularizer", None)  # In the config of the layer.
        return {
            **config,
            "layer": keras.saving.serialize_keras_object(_copy(self.template)),
        }


def _drawn(variables, basis):
    """Returns an initializer that reads theta_k from the k-th variable when called."""

    def initializer(shape, dtype=None):
        draws = [ops.convert_to_numpy(variable) for variable in variables]
        return ops.convert_to_tensor(initial_series(draws, basis), dtype)

    return initializer


def _with_signature(function, pattern):
    @functools.wraps(pattern)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def _copy(layer):
    """Returns an unbuilt, unfrozen layer with the same settings and its own draws."""
    return fresh(layer, trainable=True)


def _name(variable, layer):
    """Returns the name of a weight within its layer, including parts of the layer."""
    return variable.path.removeprefix(f"{layer.path}/").replace("/", "_")


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

    def part(layer):
        if is_graph(layer):
            return cloned(layer, part, dtype)
        if isinstance(layer, SeriesLayer):
            config = {**layer.get_config(), "basis": basis, "nodes": nodes}
            if isinstance(layer, LiftedLayer):
                config["layer"] = layer.template
            return type(layer).from_config(config)
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
