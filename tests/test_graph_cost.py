import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf import continuous_net
from export import graph_cost
from trainers.flops import forward_flops


def test_macs_are_those_of_the_kernels():
    net = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, strides=2, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5),
        ]
    )
    net.build((None, 8, 6, 2))
    assert graph_cost.macs(net, (8, 6, 2)) == 4 * 3 * 4 * (3 * 3 * 2) + 4 * 5


class Function(keras.layers.Layer):
    """A function of the images as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x, training=None):
        return self.function(x)


@pytest.mark.parametrize(
    "function, expected",
    [
        # Two kernels of 3x3 a channel, none of which sees another channel.
        (
            lambda x: tf.nn.depthwise_conv2d(
                x, tf.ones((3, 3, 2, 2)), [1, 2, 2, 1], "SAME"
            ),
            4 * 3 * 4 * (3 * 3),
        ),
        # Groups see a part of the channels each.
        (lambda x: tf.nn.conv2d(x, tf.ones((1, 1, 1, 4)), 1, "SAME"), 8 * 6 * 4),
        (lambda x: keras.ops.matmul(x, tf.ones((2, 5))), 8 * 6 * 2 * 5),
        (lambda x: tf.linalg.matmul(x[:, 0, 0], tf.ones((2, 5))), 2 * 5),
        (
            lambda x: tf.linalg.matmul(x[:, 0, 0], tf.ones((5, 2)), transpose_b=True),
            2 * 5,
        ),
        (lambda x: x + 2.0 * keras.ops.relu(x), 0),
    ],
)
def test_macs_of_one_operation(function, expected):
    assert graph_cost.macs(Function(function), (8, 6, 2)) == expected


@pytest.mark.parametrize("scheme, stages", [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_macs_grow_with_stages_and_steps(scheme, stages):
    net = continuous_net("digits", widths=(4,), strides=(1,), scheme=scheme, steps=3)
    # Two 3x3 convolutions of 4 channels an evaluation.
    evaluation = 2 * 64 * 9 * 4 * 4
    one = continuous_net("digits", widths=(4,), strides=(1,), scheme="euler", steps=1)
    more = graph_cost.macs(net, (8, 8, 1)) - graph_cost.macs(one, (8, 8, 1))
    assert more == (3 * stages - 1) * evaluation


def test_macs_of_attention_and_transposed_convolutions():
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)  # 36 numbers of 8 channels.
    x = layers.Reshape((36, 8))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.Conv1DTranspose(4, 3, strides=1)(x)
    net = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))
    expected = 36 * 8 * 27  # Convolution.
    expected += 4 * 36 * 8 * 8  # Projections to query, key, value and back.
    expected += 2 * 2 * 36 * 36 * 4  # Scores of two heads, and sums by them.
    expected += 36 * 8 * 3 * 4 + 4 * 5
    assert graph_cost.macs(net, (6, 6, 3)) == expected
    assert forward_flops(net, (6, 6, 3)) > 2 * expected


def test_operations_of_constants_alone_are_not_counted():
    class Affine(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(3,), initializer="ones")

        def call(self, x, training=None):
            return keras.ops.relu(x * keras.ops.rsqrt(self.scale + 1.0))

    layer = Affine()
    layer.build((None, 2, 2, 3))
    layer(np.zeros((1, 2, 2, 3), "float32"))
    assert graph_cost.operations(layer, (2, 2, 3)) == ["Mul", "Relu"]
    assert graph_cost.node_count(layer, (2, 2, 3)) == 2
