"""The start and the end of image nets: input, stem, tail, pooling, logits."""

import keras
import numpy as np

from cnet_tf.checks import positive_integer
from cnet_tf.layer_factory import LayerFactory
from cnet_tf.model_graph import is_graph, layers_of

# A smaller scale factor or a larger mean implies pixels of 0 to 255, not 0 to 1.
_SMALL, _LARGE = 0.02, 5.0


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
    if activation in (keras.activations.softmax, keras.activations.sigmoid):
        return True
    if type(operation).__name__ in ("Softmax", "Sigmoid"):
        return True
    if not isinstance(operation, _HANDING_ON) or activation not in (
        None,
        keras.activations.linear,
    ):
        return False
    given = operation._inbound_nodes[index].input_tensors
    return bool(given) and all(map(_are_probabilities, given))


def takes_pixels(model) -> bool:
    """Returns whether a model begins by scaling numbers far beyond 0..1."""
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Rescaling):
            return bool(np.all(np.abs(layer.scale) < _SMALL))
        if isinstance(layer, keras.layers.Normalization):
            return bool(np.any(np.array(layer.mean) > _LARGE))
        if getattr(layer, "weights", None) and not isinstance(layer, keras.Model):
            return False  # Later layers take features.
    return False


_HANDING_ON = (
    keras.layers.Activation,
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
)
