"""A dense ContinuousNet for feature vectors: two moons, spirals, tables."""

import keras

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.image_ends import logits
from cnet_tf.layer_factory import fan_out_normal


def ContinuousClassifier(
    classes,
    width=16,
    nodes=2,
    steps=None,
    scheme="rk4",
    basis="constant",
    activation="tanh",
    horizon=1,
    restriction="average",
    input_shape=(2,),
    dtype=None,
    name="continuous_classifier",
) -> keras.Model:
    """Functional model: dense stem, block dx/dt = eps R(theta(t), x), dense logits.

    Args:
        classes: Number of logits.
        width: Features of the state x. Default 16.
        nodes: K, functions of the basis. Default 2.
        steps: N. Default: the cells of the basis.
        scheme, basis, horizon, restriction, dtype: See `ContinuousNet`.
        activation: Activation of the rate dense - activation - dense. Default `"tanh"`.
        input_shape: (features,). Default (2,).
        name: Name of the model. Default `"continuous_classifier"`.

    Shapes: (batch, features) -> logits (batch, classes).

    Raises:
        ValueError: unknown names or bad numbers.
    """

    def dense(name, **arguments):
        return keras.layers.Dense(width, dtype=dtype, name=name, **arguments)

    rate = keras.Sequential(
        [
            dense("dense_0", kernel_initializer=fan_out_normal()),
            keras.layers.Activation(activation, dtype=dtype, name="activation"),
            dense("dense_1", kernel_initializer=fan_out_normal()),
        ],
        name="rate",
    )
    policy = keras.dtype_policies.get(dtype)
    inputs = keras.Input(input_shape, dtype=policy.variable_dtype, name="features")
    block = ContinuousBlock(
        rate,
        nodes,
        scheme,
        steps,
        basis,
        horizon,
        restriction,
        name="block_0",
        dtype=dtype,
    )
    x = block(dense("stem")(inputs))
    return keras.Model(inputs, logits(x, classes, dtype), name=name)
