"""Every optimizer of Keras, on variables that stand for the weights of a net."""

import keras
import numpy as np

from cnet_tf.optimizer_slots import carry_over

K = keras.optimizers
RATE = 0.01
# P of constants K -> 2K: each theta_k twice.
REPEAT = np.repeat(np.eye(2), 2, axis=0)
# Kernels, biases and a scalar of two nodes; a matrix and a bias of no depth.
SHAPES = [(3, 4), (4,), (), (3, 2), (2,)]
STACKED = 3

# Name -> optimizer. Every class of Keras is here; Muon's matrix is of no depth.
ZOO = {
    "SGD": lambda **k: K.SGD(RATE, **k),
    "SGD momentum": lambda **k: K.SGD(RATE, momentum=0.9, **k),
    "SGD nesterov": lambda **k: K.SGD(RATE, momentum=0.9, nesterov=True, **k),
    "RMSprop": lambda **k: K.RMSprop(RATE, **k),
    "RMSprop centered": lambda **k: K.RMSprop(RATE, momentum=0.9, centered=True, **k),
    "Adam": lambda **k: K.Adam(RATE, **k),
    "Adam amsgrad": lambda **k: K.Adam(RATE, amsgrad=True, **k),
    "AdamW": lambda **k: K.AdamW(RATE, amsgrad=True, **k),
    "Adadelta": lambda **k: K.Adadelta(1.0, **k),
    "Adagrad": lambda **k: K.Adagrad(RATE, **k),
    "Adamax": lambda **k: K.Adamax(RATE, **k),
    "Adafactor": lambda **k: K.Adafactor(RATE, **k),
    "Nadam": lambda **k: K.Nadam(RATE, **k),
    "Ftrl": lambda **k: K.Ftrl(RATE, beta=0.1, **k),
    "Lion": lambda **k: K.Lion(RATE, **k),
    "Lamb": lambda **k: K.Lamb(RATE, **k),
    "Muon": lambda **k: K.Muon(RATE, exclude_layers=["stacked"], **k),
    "ScheduleFreeAdamW": lambda **k: K.ScheduleFreeAdamW(RATE, **k),
    "LossScaleOptimizer": lambda **k: K.LossScaleOptimizer(
        K.SGD(RATE, momentum=0.9, **k), initial_scale=8.0, dynamic_growth_steps=3
    ),
    "MultiOptimizer": lambda: K.MultiOptimizer(
        K.OptimizerMap(K.Adam(RATE), {"stacked0": K.SGD(RATE, momentum=0.9)})
    ),
}


def variables(nodes, seed=0):
    rng = np.random.default_rng(seed)
    return [
        keras.Variable(
            rng.normal(size=(nodes, *shape) if i < STACKED else shape),
            dtype="float32",
            name=f"stacked{i}" if i < STACKED else f"plain{i}",
        )
        for i, shape in enumerate(SHAPES)
    ]


def gradients(like, seed, sizes=None):
    """Of size 1, or of one size for each node."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=v.shape) for v in like]
    if sizes is not None:
        for g in found[:STACKED]:
            g *= np.reshape(sizes, (-1,) + (1,) * (g.ndim - 1))
    return found


def mapped(matrix, arrays):
    return [
        np.tensordot(matrix, a, axes=1) if i < STACKED else a
        for i, a in enumerate(arrays)
    ]


def values(some):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in some]


def update(optimizer, targets, arrays):
    """Applies gradients, scaled as a loss would be; returns what it changed."""
    before = values(targets)
    scale = float(getattr(optimizer, "dynamic_scale", 1.0))
    optimizer.apply([keras.ops.cast(scale * g, "float32") for g in arrays], targets)
    return [now - old for now, old in zip(values(targets), before, strict=True)]


def trained(optimizer, nodes=2, updates=5, sizes=None):
    old = variables(nodes)
    optimizer.build(old)
    for seed in range(updates):
        update(optimizer, old, gradients(old, seed, sizes))
    return old


def carried(optimizer, old, matrix):
    """New variables P theta, and the optimizer carried over to them."""
    new = variables(len(matrix))
    for v, value in zip(new, mapped(matrix, values(old)), strict=True):
        v.assign(value)
    matrices = [matrix if i < STACKED else None for i in range(len(old))]
    return new, carry_over(optimizer, old, new, matrices)
