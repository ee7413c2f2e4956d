"""Layers as arithmetic: what each one computes at inference, at one depth."""

import math

import keras
import numpy as np
from keras import ops

from cnet_tf.model_graph import pattern_of
from cnet_tf.scale import Scale
from cnet_tf.series import SeriesLayer, at_depth
from cnet_tf.series_norm import SeriesBatchNormalization
from export.affine import Affine, Function, Linear, Padding


def operations(layer, depth) -> list:
    """Lists the operations of one layer at inference.

    Args:
        layer: Any layer. An unknown one becomes a `Function` that calls it.
        depth: Function that returns the `Depth` at which its series are read.
    """
    pattern = pattern_of(layer)
    read = _READERS.get(type(pattern))
    found = read and read(pattern, _Weights(layer, depth))
    if found is None:
        return [Function(_called(layer, depth), layer)]
    activation = getattr(pattern, "activation", None)
    if activation not in (None, keras.activations.linear):
        found = [*found, Function(activation)]
    return found


class _Weights:
    """The weights of a layer in float64: values of theta(t), or its own weights."""

    def __init__(self, layer, depth):
        self._layer = layer
        self._depth = depth

    def all(self):
        if isinstance(self._layer, SeriesLayer):
            depth = self._depth()
            values = [depth(series) for series in self._layer.series]
        else:
            values = self._layer.weights
        return [ops.convert_to_numpy(v).astype("float64") for v in values]

    def named(self, name):
        variable = getattr(self._layer, name)
        if isinstance(self._layer, SeriesLayer):
            variable = self._depth()(variable)
        return ops.convert_to_numpy(variable).astype("float64")


def _called(layer, depth):
    def run(x):
        # A new pass each time: what it reads belongs to the current graph.
        with at_depth(depth()):
            return layer(x)

    return run


def _conv(layer, weights):
    plain = layer.data_format == "channels_last" and layer.groups == 1
    if not plain or layer.dilation_rate != (1, 1):
        return None
    return [_linear(weights, layer.strides, layer.padding)]


def _depthwise(layer, weights):
    if layer.data_format != "channels_last" or layer.dilation_rate != (1, 1):
        return None
    return [_linear(weights, layer.strides, layer.padding, depthwise=True)]


def _linear(weights, strides=None, padding="same", depthwise=False):
    kernel, *bias = weights.all()
    outputs = kernel.shape[-2] * kernel.shape[-1] if depthwise else kernel.shape[-1]
    bias = bias[0] if bias else np.zeros(outputs)
    padding = 0 if padding == "valid" else padding
    return Linear(kernel, bias, strides, padding, depthwise)


def _dense(layer, weights):
    if len(weights.all()) > 2:  # Quantized, or with LoRA.
        return None
    return [_linear(weights)]


def _norm(layer, weights):
    mean, variance = weights.named("moving_mean"), weights.named("moving_variance")
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * weights.named("gamma")
    shift = weights.named("beta") if layer.center else 0.0
    return [Affine(scale, shift - scale * mean)]


def _keras_norm(layer, weights):
    last = layer.axis in (-1, len(layer.get_build_config()["input_shape"]) - 1)
    return _norm(layer, weights) if last else None


def _scale(layer, weights):
    (alpha,) = weights.all()
    return [Affine(alpha, np.zeros(()))]


def _rescaling(layer, weights):
    values = [np.array(layer.scale), np.array(layer.offset)]
    if any(v.size != math.prod(v.shape[-1:]) for v in values):
        return None  # The numbers vary with the place in an image.
    return [Affine(*(v.reshape(v.shape[-1:]) for v in values))]


def _padding(layer, weights):
    margins = {n for pair in layer.padding for n in pair}
    if layer.data_format != "channels_last" or len(margins) != 1:
        return None
    return [Padding(margins.pop())]


def _relu(layer, weights):
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return [Function(keras.activations.relu)] if plain else None


def _nothing(layer, weights):
    return []


_READERS = {
    keras.layers.Conv2D: _conv,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.Dense: _dense,
    keras.layers.BatchNormalization: _keras_norm,
    SeriesBatchNormalization: _norm,
    Scale: _scale,
    keras.layers.Rescaling: _rescaling,
    keras.layers.ZeroPadding2D: _padding,
    keras.layers.ReLU: _relu,
    keras.layers.Activation: _nothing,  # Its function is an attribute, as in Dense.
    keras.layers.Dropout: _nothing,
    keras.layers.SpatialDropout2D: _nothing,
    keras.layers.GaussianNoise: _nothing,
    keras.layers.InputLayer: _nothing,
}
