"""Small rates by the names of their operations."""

import keras

from cnet_tf.layer_factory import LayerFactory, fan_out_normal
from cnet_tf.lifted_layer import lift
from cnet_tf.residual_unit import UNITS


def chain(operations, width, strides=1, use_bias=True, momentum=0.9):
    """A Sequential model: `conv` (3x3), `dense`, `norm` or names of activations."""
    make = LayerFactory(use_bias=use_bias)
    layers = []
    for i, operation in enumerate(operations):
        name = f"{operation}_{i}"
        if operation == "conv":
            layers += make.conv(name, width, strides=strides)
        elif operation == "dense":
            initializer = fan_out_normal()
            dense = keras.layers.Dense(
                width, use_bias=use_bias, kernel_initializer=initializer, name=name
            )
            layers.append(dense)
        elif operation == "norm":
            layers.append(make.norm(name, momentum))
        else:
            layers.append(keras.layers.Activation(operation, name=name))
    return keras.Sequential(layers, name="rate")


def lifted(operations, width, basis="constant", nodes=1, **arguments):
    """The same as series."""
    return lift(chain(operations, width, **arguments), basis, nodes)


def unit_rate(unit, width, basis="constant", nodes=1, activation=None):
    """The rate of a family of nets, perhaps with another activation than ReLU."""
    style = UNITS[unit]
    layers = style.rate(LayerFactory(use_bias=style.use_bias), width)
    if activation:
        layers = [
            keras.layers.Activation(activation, name=layer.name)
            if isinstance(layer, keras.layers.ReLU)
            else layer
            for layer in layers
        ]
    return lift(keras.Sequential(layers, name="rate"), basis, nodes)
