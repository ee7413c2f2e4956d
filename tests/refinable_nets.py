"""Nets with random weights that the tests of refinement start from."""

import numpy as np

from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet

IMAGE = (8, 8, 3)
SIZES = {"constant": 2, "hat": 3, "linear": 2, "legendre": 2}


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomize(net, seed=1):
    rng = np.random.default_rng(seed)
    for v in net.variables:
        value = rng.normal(size=v.shape, scale=0.3)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)
    return net


def image_net(basis="constant", unit="post", **arguments):
    arguments = {"nodes": SIZES[basis], "scheme": "midpoint", **arguments}
    arguments["input_shape"] = IMAGE
    return randomize(
        ContinuousNet(3, (4, 6), strides=(1, 2), basis=basis, unit=unit, **arguments)
    )


def small_image_net(basis="constant", nodes=1):
    settings = {"basis": basis, "strides": 1, "input_shape": IMAGE}
    return randomize(ContinuousNet(3, (4,), nodes, scheme="euler", **settings))


def classifier(**arguments):
    arguments = {"width": 4, "nodes": 2, "scheme": "midpoint", **arguments}
    return ContinuousClassifier(3, **arguments)


# Features of some examples for `classifier`.
X = normal((8, 2))
