"""The start and the end of image nets: input, stem, tail, pooling, logits."""

import keras
import numpy as np

from cnet_tf import flat_graph
from cnet_tf.checks import positive_integer
from cnet_tf.layer_factory import LayerFactory
from cnet_tf.model_graph import is_graph

# A smaller scale factor or a larger mean implies pixels of 0 to 255, not 0 to 1.
_SMALL, _LARGE = 0.02, 5.0
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


# What to do about a softmax or sigmoid at the end, for messages.
LEAVE_IT_OUT = (
    "leave that out (`activation = keras.activations.linear` where it is the "
    "activation of a layer)"
)


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

    However it is written: up to the first layers that learn, and batch norms, images of
    ones and of zeros differ little, or what becomes zero is far from both.
    """
    graph = flat_graph.read(model)
    if len(graph.inputs) != 1:
        return False
    shape = (1, *(n or _SIDE for n in graph.inputs[0].shape[1:]))
    try:
        black, white = (_before_learning(graph, shape, value) for value in (0, 1))
    except Exception:  # Of operations that anybody wrote, on an image of our size.
        return False
    return bool(black) and all(map(_scales_pixels, black, white))


def _before_learning(graph, shape, value) -> list:
    """Returns what the first layers that learn take for an image of one value."""
    (given,), found = graph.inputs, []
    known = {given: keras.ops.full(shape, value, given.dtype)}
    for call in graph.calls:
        if not all(x in known for x in call.inputs):
            continue
        if _learns_nothing(call.operation):
            flat_graph.run([call], known, _in_inference)
        else:
            found += [keras.ops.convert_to_numpy(known[x]) for x in call.inputs]
    return [x.astype("float64") for x in found]


def _learns_nothing(operation) -> bool:
    scales = (keras.layers.Normalization, keras.layers.BatchNormalization)
    return isinstance(operation, scales) or not getattr(operation, "weights", None)


def _in_inference(call):
    def run(*args, training=None, **kwargs):
        return call.operation(*args, **kwargs)

    return run


def _scales_pixels(black, white) -> bool:
    slope, black = np.abs(white - black), np.abs(black)
    black, slope = black[slope > 0], slope[slope > 0]
    return bool(slope.size and np.all((slope < _SMALL) | (black > _LARGE * slope)))


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
