"""The start and the end of image nets: input, stem, tail, pooling, logits."""

import itertools

import keras
import numpy as np

from cnet_tf import flat_graph
from cnet_tf.checks import positive_integer
from cnet_tf.layer_factory import LayerFactory
from cnet_tf.model_graph import is_graph

# A smaller scale factor or a larger offset implies pixels of 0 to 255, not 0 to 1.
_SMALL, _LARGE = 0.1, 5.0
# Side of an image where a model leaves it free.
_SIDE = 32


def image_input(shape, dtype):
    """Returns an input in the precision of the weights; layers cast it to their own."""
    policy = keras.dtype_policies.get(dtype)
    return keras.Input(shape, dtype=policy.variable_dtype, name="image")


def stem(make: LayerFactory, width):
    """Returns conv - norm - relu; the norm has a bias, so the convolution has none."""
    layers = [
        *make.conv("conv", width, use_bias=False),
        make.norm("norm"),
        make.relu("relu"),
    ]
    return keras.Sequential(layers, name="stem")


def tail(make: LayerFactory, names, momentum):
    """Returns what precedes the pooling in pre-activation nets."""
    layers = {"norm": make.norm("norm", momentum), "relu": make.relu("relu")}
    return keras.Sequential([layers[name] for name in names], name="tail")


def head(x, classes, dtype):
    """Applies average pooling over the image and a dense layer."""
    pool = keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype=dtype, name="pool"
    )
    return logits(pool(x), classes, dtype)


def logits(x, classes, dtype=None):
    """Applies a dense layer in the precision of the weights and loss, whatever x has.

    Raises:
        ValueError: classes < 1.
    """
    policy = keras.dtype_policies.get(dtype)
    classes = positive_integer("classes", classes)
    return keras.layers.Dense(classes, dtype=policy.variable_dtype, name="head")(x)


def last_operation(model):
    """Returns the operation that makes a model's first output, within models too."""
    operation = model
    while is_graph(operation):
        operation = operation.outputs[0]._keras_history.operation
    return operation


def gives_probabilities(model) -> bool:
    """Returns whether a model ends in softmaxes or sigmoids, not in logits.

    Layers that pass these on, or average them, may follow.
    """
    return _are_probabilities(model.outputs[0])


def _are_probabilities(tensor) -> bool:
    operation, index, _ = tensor._keras_history
    if is_graph(operation):
        return _are_probabilities(operation.outputs[0])
    activation = getattr(operation, "activation", None)
    if activation in _TO_PROBABILITIES:
        return True
    if type(operation).__name__ in ("Softmax", "Sigmoid", "HardSigmoid"):
        return True
    if not isinstance(operation, _HANDING_ON) or activation not in (
        None,
        keras.activations.linear,
    ):
        return False
    given = operation._inbound_nodes[index].input_tensors
    return bool(given) and all(map(_are_probabilities, given))


def takes_pixels(model) -> bool:
    """Returns whether a model begins by scaling numbers far beyond 0..1.

    However it is written: up to its first layer that learns, and a batch norm, an image
    of ones and one of zeros differ little, or the one of zeros becomes large.
    """
    graph = flat_graph.read(model)
    before = [*itertools.takewhile(_learns_nothing, graph.calls)]
    if len(graph.inputs) != 1 or len(before) == len(graph.calls):
        return False
    (given,), (taken, *_) = graph.inputs, graph.calls[len(before)].inputs
    shape = [n or _SIDE for n in given.shape[1:]]

    def seen(value):
        known = {given: keras.ops.full((1, *shape), value, given.dtype)}
        flat_graph.run(before, known, lambda call: call.operation)
        return np.asarray(keras.ops.convert_to_numpy(known[taken]), "float64")

    black, white = seen(0), seen(1)
    slope = np.max(np.abs(white - black), initial=0)
    return bool(0 < slope < _SMALL or np.max(np.abs(black), initial=0) > _LARGE)


def _learns_nothing(call) -> bool:
    scales = (keras.layers.Normalization, keras.layers.BatchNormalization)
    return isinstance(call.operation, scales) or not getattr(
        call.operation, "weights", None
    )


_TO_PROBABILITIES = (
    keras.activations.softmax,
    keras.activations.sigmoid,
    keras.activations.hard_sigmoid,
)
_HANDING_ON = (
    keras.layers.Activation,
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
)
