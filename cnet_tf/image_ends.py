"""What image nets start and end in: input, stem, tail, pooling, logits."""

import keras

from cnet_tf.checks import positive_integer
from cnet_tf.layer_factory import LayerFactory
from cnet_tf.model_graph import is_graph


def image_input(shape, dtype):
    """Images in the precision of the weights; layers cast them to their own."""
    policy = keras.dtype_policies.get(dtype)
    return keras.Input(shape, dtype=policy.variable_dtype, name="image")


def stem(make: LayerFactory, width):
    """conv - norm - relu, without a bias, which the norm has."""
    layers = [
        *make.conv("conv", width, use_bias=False),
        make.norm("norm"),
        make.relu("relu"),
    ]
    return keras.Sequential(layers, name="stem")


def tail(make: LayerFactory, names, momentum):
    """What stands in front of the pooling in nets that activate first."""
    layers = {"norm": make.norm("norm", momentum), "relu": make.relu("relu")}
    return keras.Sequential([layers[name] for name in names], name="tail")


def head(x, classes, dtype):
    """Average pooling over the image and a dense layer."""
    pool = keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype=dtype, name="pool"
    )
    return logits(pool(x), classes, dtype)


def logits(x, classes, dtype=None):
    """A dense layer in the precision of the weights, as is the loss, whatever x has.

    Raises:
        ValueError: fewer classes than one.
    """
    policy = keras.dtype_policies.get(dtype)
    classes = positive_integer("classes", classes)
    return keras.layers.Dense(classes, dtype=policy.variable_dtype, name="head")(x)


def last_operation(model):
    """What makes the first output of a model, within models at its end too."""
    operation = model
    while is_graph(operation):
        operation = operation.outputs[0]._keras_history.operation
    return operation


def gives_probabilities(model) -> bool:
    """Whether a model ends in softmaxes or sigmoids, not in logits.

    Also where layers come after them that hand them on, or average them.
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


_HANDING_ON = (
    keras.layers.Activation,
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
)
