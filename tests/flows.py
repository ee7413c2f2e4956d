"""Small smooth nets in float64 that integrate, or seem to."""

import math

import keras
import numpy as np

from cnet_tf import ContinuousBlock, convergence

WIDTH = 4


def layers(activation="tanh"):
    """A branch of two dense layers, the last one small."""
    draw = keras.initializers.RandomNormal(stddev=0.4)
    return [
        keras.layers.Dense(8, activation, kernel_initializer=draw, dtype="float64"),
        keras.layers.Dense(WIDTH, kernel_initializer=draw, dtype="float64"),
    ]


def block_net(scheme="euler", steps=2, nodes=2):
    """x -> a block of two cells -> three logits."""
    inputs = keras.Input((WIDTH,), dtype="float64")
    x = ContinuousBlock(
        keras.Sequential(layers()),
        nodes=nodes,
        scheme=scheme,
        steps=steps,
        horizon=nodes,
        name="block",
        dtype="float64",
    )(inputs)
    head = keras.layers.Dense(3, dtype="float64", name="head")
    return keras.Model(inputs, head(x))


def plain_net(like):
    """The plain residual net with the weights of a `block_net`."""
    block, head = like.get_layer("block"), like.get_layer("head")
    inputs = x = keras.Input((WIDTH,), dtype="float64")
    branches = []
    for _ in range(block.nodes):
        branches.append(keras.Sequential(layers()))
        x = keras.layers.Add(dtype="float64")([x, branches[-1](x)])
    new = keras.layers.Dense(3, dtype="float64")
    model = keras.Model(inputs, new(x))
    new.set_weights(head.get_weights())
    for k, branch in enumerate(branches):
        branch.set_weights([series.variable.numpy()[k] for series in block.series])
    return model


def oscillator(scheme, spacing):
    """The block that fits u' = L u through one step at a spacing, without error."""
    z = convergence.fitted_generator(scheme, spacing)
    inputs = keras.Input((2,), dtype="float64")
    block = ContinuousBlock(
        keras.layers.Dense(2, use_bias=False, dtype="float64"),
        scheme=scheme,
        steps=round(convergence.HORIZON / spacing),
        horizon=convergence.HORIZON,
        name="block",
        dtype="float64",
    )
    model = keras.Model(inputs, block(inputs))
    matrix = np.array([[z.real, z.imag], [-z.imag, z.real]])
    block.series[0].variable.assign(matrix.T[None])
    return model


def turned(u):
    """The exact state of the oscillator at T."""
    c, s = math.cos(convergence.HORIZON), math.sin(convergence.HORIZON)
    return u @ np.array([[c, s], [-s, c]]).T


def states(count=12, width=WIDTH):
    return np.random.default_rng(0).normal(size=(count, width))
