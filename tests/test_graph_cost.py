import keras
import numpy as np
import pytest

from cnet_tf import continuous_net
from export import graph_cost


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


@pytest.mark.parametrize("scheme, stages", [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_macs_grow_with_stages_and_steps(scheme, stages):
    net = continuous_net("digits", widths=(4,), strides=(1,), scheme=scheme, steps=3)
    net.build((None, 8, 8, 1))
    # Two 3x3 convolutions of 4 channels an evaluation.
    evaluation = 2 * 64 * 9 * 4 * 4
    one = continuous_net("digits", widths=(4,), strides=(1,), scheme="euler", steps=1)
    one.build((None, 8, 8, 1))
    more = graph_cost.macs(net, (8, 8, 1)) - graph_cost.macs(one, (8, 8, 1))
    assert more == (3 * stages - 1) * evaluation


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
