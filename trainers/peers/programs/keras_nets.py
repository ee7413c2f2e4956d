"""The nets in plain Keras layers, and ResNets of equal depth; none of our code.

All stages of a step use the same layers.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers

WIDTHS = (16, 32, 64)
CLASSES = 10


def conv(width, size=3, stride=1, bias=True):
    """Pads with zeros on every side, as PyTorch does."""
    padding = [layers.ZeroPadding2D(size // 2)] if stride > 1 and size > 1 else []
    kind = "valid" if padding else "same"
    return [*padding, layers.Conv2D(width, size, stride, kind, use_bias=bias)]


def norm():
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def post(width, stride=1, bias=True):
    """conv, ReLU, norm, twice."""
    return [
        *(*conv(width, 3, stride, bias), layers.ReLU(), norm()),
        *(*conv(width, 3, 1, bias), layers.ReLU(), norm()),
    ]


def he(width, stride=1, bias=False):
    """conv, norm, ReLU, conv, norm; the sum is followed by a ReLU."""
    return [
        *(*conv(width, 3, stride, bias), norm(), layers.ReLU()),
        *(*conv(width, 3, 1, bias), norm()),
    ]


def chained(found):
    """Returns a function that applies layers one after the other."""
    return lambda x: functools.reduce(lambda y, layer: layer(y), found, x)


# Steps of length 1: eps = K = N. Every stage of a step reads the step's own cell.


def euler(f, x):
    return x + f(x)


def rk4(f, x):
    k1 = f(x)
    k2 = f(x + k1 / 2)
    k3 = f(x + k2 / 2)
    k4 = f(x + k3)
    return x + (k1 + 2 * k2 + 2 * k3 + k4) / 6


SCHEMES = {"euler": euler, "rk4": rk4}
STAGES = {"euler": 1, "rk4": 4}


def continuous_stages(x, nodes, scheme):
    for i, width in enumerate(WIDTHS):
        stride = 2 if i else 1
        branch = chained(post(width, stride)[:-1])
        x = chained(conv(width, 1, stride, bias=False))(x) + branch(x)
        for _ in range(nodes):
            x = SCHEMES[scheme](chained(post(width)), x)
    return x


def residual_stages(x, units, style):
    for i, width in enumerate(WIDTHS):
        for unit in range(units):
            first = i > 0 and unit == 0
            stride = 2 if first else 1
            skip = [*conv(width, 1, stride, bias=False), norm()] if first else []
            x = chained(skip)(x) + chained(style(width, stride, bias=False))(x)
            if style is he:
                x = layers.ReLU()(x)
    return x


def image_net(stages, *arguments):
    image = keras.Input((32, 32, 3))
    x = chained([*conv(WIDTHS[0], bias=False), norm(), layers.ReLU()])(image)
    x = layers.GlobalAveragePooling2D()(stages(x, *arguments))
    return keras.Model(image, layers.Dense(CLASSES)(x))


def continuous_net(nodes, scheme):
    return image_net(continuous_stages, nodes, scheme)


def resnet(nodes, scheme, style=post):
    """ResNet-20, -56, ..: as many units as the net has evaluations and transitions."""
    return image_net(residual_stages, nodes * STAGES[scheme] + 1, style)


FAMILIES = {"continuous": continuous_net, "resnet": resnet}


def operations(net, batch):
    """Returns the operations in the graph of a forward pass."""
    spec = tf.TensorSpec((batch, 32, 32, 3), tf.float32)
    trace = tf.function(lambda x: net(x, training=False)).get_concrete_function(spec)
    return trace.graph.get_operations()


def macs(net):
    """Counts multiply-adds of convolutions and products in the graph of one image."""
    total = 0
    for op in operations(net, 1):
        if op.type in ("Conv2D", "MatMul"):
            *summed, width = op.inputs[1].shape
            total += int(np.prod(summed) * np.prod(op.outputs[0].shape))
    return total


def size(net):
    parameters = sum(int(np.prod(w.shape)) for w in net.trainable_variables)
    return {"parameters": parameters, "macs": macs(net)}
