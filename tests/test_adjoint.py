"""Why there is no adjoint: its gradient is another than that of the graph.

    da/dt = -a^T df/dx,    dg/dt = -a^T df/dtheta,    dx/dt = f,    from t = 1 to 0

saves all memory of depth, as x is integrated backwards beside a and g. But neither the
x that it meets nor the gradient is that of the steps which were taken, so it descends
from a loss that nobody computes: the papers warn of it. `recompute` is exact.

    python -m pytest -s tests/test_adjoint.py     # prints the table of BUILD_NOTES.md
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf import ContinuousBlock
from cnet_tf.runge_kutta import StageTime, step
from cnet_tf.series import ForwardPass, at_depth
from cnet_tf.tableaus import get_scheme

L = keras.layers
STEPS = (2, 4, 8)


@pytest.fixture(autouse=True)
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def flat(tensors):
    return tf.concat([tf.reshape(x, [-1]) for x in tensors], axis=0)


def backpropagated(block, x):
    weights = [v.value for v in block.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.square(block(x, training=True))) / 2
    return flat(tape.gradient(loss, [x, *weights]))


def adjoint(block, x):
    """The same gradient by the adjoint equation, by the scheme and steps of the block.

    The state is one vector: x, a, and g of every weight.
    """
    weights = [v.value for v in block.trainable_variables]
    size = int(tf.size(x))
    y = block(x)

    def slope(time, state):
        now, a = (tf.reshape(state[i * size : (i + 1) * size], x.shape) for i in (0, 1))
        with tf.GradientTape() as tape:
            tape.watch(now)
            with at_depth(ForwardPass().at(time)):
                f = block.horizon * block.rate(now, training=True)
        da, *dg = tape.gradient(f, [now, *weights], a)
        return flat([f, -da, *(-tf.convert_to_tensor(d) for d in dg)])

    # dL/dy = y.
    state = flat([y, y, *(tf.zeros_like(w) for w in weights)])
    steps, nodes = block.steps, get_scheme(block.scheme).c
    for n in reversed(range(steps)):
        times = [StageTime(n, 1 - c, steps) for c in nodes]
        state = step(block.scheme, slope, state, times, h=-1 / steps)
    return state[size:]


def block(scheme, steps, **arguments):
    keras.utils.set_random_seed(0)
    unit = keras.Sequential([L.Dense(8, "tanh"), L.Dense(4)])
    block = ContinuousBlock(unit, 3, scheme, steps, "hat", horizon=2, **arguments)
    block.build((None, 4))
    return block


def error(scheme, steps, x):
    found, exact = (f(block(scheme, steps), x) for f in (adjoint, backpropagated))
    return float(tf.norm(found - exact) / tf.norm(exact))


def test_the_adjoint_is_off_where_a_second_computation_is_exact():
    x = tf.constant(np.random.default_rng(0).normal(size=(8, 4)))
    print("\n| scheme | " + " | ".join(f"N = {n}" for n in STEPS) + " |")
    for scheme in ("euler", "midpoint", "rk4"):
        errors = [error(scheme, n, x) for n in STEPS]
        print(f"| {scheme} | " + " | ".join(f"{e:.1e}" for e in errors) + " |")
        order = get_scheme(scheme).order
        assert np.log2(errors[-2] / errors[-1]) > order - 0.5  # Both tend to one ODE.
        assert errors[0] > 10 ** (-1 - order / 2), errors  # But that is not the graph.
    exact = backpropagated(block("euler", 4), x)
    again = backpropagated(block("euler", 4, recompute=True), x)
    np.testing.assert_allclose(again, exact, rtol=1e-12, atol=1e-13)
