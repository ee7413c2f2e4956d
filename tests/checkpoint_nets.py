"""Small nets with weights drawn at random, and the files of a checkpoint."""

import numpy as np

from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet

IMAGE = (8, 8, 3)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def drawn(net, seed=1):
    """The net with weights drawn at random."""
    rng = np.random.default_rng(seed)
    for v in net.variables:
        value = rng.normal(size=v.shape, scale=0.3)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)
    return net


def image_net(**arguments):
    arguments = {"input_shape": IMAGE, **arguments}
    return drawn(ContinuousNet(3, (4, 6), strides=(1, 2), **arguments))


def small(seed=1):
    return drawn(ContinuousClassifier(3, width=4), seed)


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def weights_file(directory):
    (path,) = directory.glob("*.safetensors")
    return path
