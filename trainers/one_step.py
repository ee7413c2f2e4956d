"""Fits rates through one step of a scheme, several seeds at once.

A fit sees only pairs x(t), x(t + D) of a trajectory:

    minimise  mean |x(t + D) - Phi_D(x(t))|^2,   Phi_D one step of the scheme,

by Adam on batches of pairs drawn with replacement, in float64. Seeds are the first axis
of every array, so that all train in one compiled program; no seed affects the batches
of another.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cnet_tf.runge_kutta import step
from cnet_tf.tableaus import get_scheme

# From Kingma and Ba 2015. Keras' Adam has no stateless form in TensorFlow, which an XLA
# loop would need; its epsilon of 1e-7 is as large as the gradients are at D = .01.
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
# Iterations between updates of the progress bar.
CHUNK = 1000


@dataclasses.dataclass(frozen=True)
class Rate:
    """A model of dx/dt, x in R^2.

    Attributes:
        first: Function of a NumPy generator to initial values, a list of arrays.
        value: Function (values, x) -> dx/dt; the first axis of each is the seeds.
    """

    first: Callable
    value: Callable


def _uniform(rng, inputs, *shapes):
    """Draws kernels and biases from U(-1/sqrt(n), 1/sqrt(n)) for n inputs."""
    bound = inputs**-0.5
    return [rng.uniform(-bound, bound, shape) for shape in shapes]


def _perceptron(values, x):
    kernel, bias, out_kernel, out_bias = values
    return tf.tanh(x @ kernel + bias) @ out_kernel + out_bias


_WIDTH = 50

RATES = {
    "linear": Rate(lambda rng: _uniform(rng, 2, (2, 2)), lambda v, x: x @ v[0]),
    "mlp": Rate(
        lambda rng: (
            _uniform(rng, 2, (2, _WIDTH), (1, _WIDTH))
            + _uniform(rng, _WIDTH, (_WIDTH, 2), (1, 2))
        ),
        _perceptron,
    ),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a fit is trained."""

    iterations: int = 50_000
    batch_size: int = 128
    learning_rate: float = 1e-4


def fit(model, scheme, pairs, spacing, seeds, recipe, progress=lambda done: None):
    """Fits a rate for every seed.

    Args:
        model: A key of `RATES`.
        scheme: Name of a scheme in `SCHEMES`.
        pairs: x(t) and x(t + D), float64 arrays (n, 2).
        spacing: D.
        seeds: Integers; each draws its own initial values and batches.
        recipe: A `Recipe`.
        progress: Called with the number of iterations done since the last call.

    Returns:
        The values of the rate, tensors whose first axis is the seeds.
    """
    rate, tableau = RATES[model].value, get_scheme(scheme)
    before, after = (tf.constant(side, tf.float64) for side in pairs)
    starts = [RATES[model].first(np.random.default_rng(seed)) for seed in seeds]
    values = [tf.constant(np.stack(each)) for each in zip(*starts, strict=True)]

    def loss_of(values, x, y):
        found = step(tableau, lambda _, x: rate(values, x), x, tableau.c, spacing)
        return tf.reduce_sum(tf.reduce_mean((found - y) ** 2, axis=(1, 2)))

    def update(i, values, means, squares):
        drawn = tf.stack(
            [
                tf.random.stateless_uniform(
                    (recipe.batch_size,), (seed, i), 0, len(before), tf.int32
                )
                for seed in seeds
            ]
        )
        x, y = tf.gather(before, drawn), tf.gather(after, drawn)
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = loss_of(values, x, y)
        slopes = tape.gradient(loss, values)
        n = tf.cast(i + 1, tf.float64)
        size = recipe.learning_rate * tf.sqrt(1 - _BETA2**n) / (1 - _BETA1**n)
        means = _moved(means, slopes, _BETA1)
        squares = _moved(squares, [slope**2 for slope in slopes], _BETA2)
        moments = zip(values, means, squares, strict=True)
        values = [v - size * m / (tf.sqrt(s) + _EPSILON) for v, m, s in moments]
        return i + 1, values, means, squares

    def updates(first, last, *state):
        return tf.while_loop(lambda i, *_: i < last, update, (first, *state))[1:]

    zeros = [tf.zeros_like(value) for value in values]
    state = values, zeros, zeros
    program = _compiled(updates, tf.constant(0), tf.constant(0), *state)
    for first in range(0, recipe.iterations, CHUNK):
        last = min(first + CHUNK, recipe.iterations)
        state = program(tf.constant(first), tf.constant(last), *state)
        progress(last - first)
    return state[0]


def _compiled(function, *arguments):
    """Compiles one program for all arguments of these shapes.

    Not a `tf.function`, which warns if the same line makes many of them, one per fit.
    """
    return tf.function(function, jit_compile=True).get_concrete_function(*arguments)


def _moved(averages, values, momentum):
    pairs = zip(averages, values, strict=True)
    return [momentum * average + (1 - momentum) * value for average, value in pairs]


def final_states(rate, scheme, start, horizon, counts) -> np.ndarray:
    """Computes x_N, the state at T after N steps from x(0).

    Args:
        rate: Function of states (seeds, 1, 2).
        scheme: Name of a scheme in `SCHEMES`.
        start: x(0), float64 (seeds, 1, 2).
        horizon: T.
        counts: Values of N, integers.

    Returns:
        Array (counts, seeds, 2); not finite where the steps overflow.
    """
    tableau = get_scheme(scheme)

    def final(x, count, h):
        # h is a tensor, so that one program serves all N: a unit step of the rate h f.
        def body(n, x):
            return n + 1, step(tableau, lambda _, x: h * rate(x), x, tableau.c, 1)

        return tf.while_loop(lambda n, x: n < count, body, (tf.constant(0), x))[1]

    step_of = {n: tf.constant(horizon / n, tf.float64) for n in counts}
    program = _compiled(final, start, tf.constant(0), step_of[counts[0]])
    return np.stack([program(start, tf.constant(n), step_of[n])[:, 0] for n in counts])
