"""SeriesBatchNormalization, beside Keras' own layer and beside NumPy."""

from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf
from chains import chain

from cnet_tf.basis import BASES, get_basis
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.runge_kutta import StageTime
from cnet_tf.series import ForwardPass, at_depth
from cnet_tf.series_norm import SeriesBatchNormalization

SIZES = {"constant": 4, "hat": 3, "linear": 4, "legendre": 3}
SHAPE = (4, 3, 3, 2)


def normal(shape=SHAPE, seed=0, shift=0.7, dtype="float32"):
    rng = np.random.default_rng(seed)
    return (shift + 1.5 * rng.normal(size=shape)).astype(dtype)


def make(randomized=True, **arguments):
    norm = SeriesBatchNormalization(**arguments)
    norm.build((None, *SHAPE[1:]))
    if randomized:
        rng = np.random.default_rng(1)
        for v in norm.variables:
            v.assign(rng.uniform(0.5, 2.0, size=v.shape))
    return norm


def keras_twin(norm):
    twin = keras.layers.BatchNormalization(momentum=norm.momentum, epsilon=norm.epsilon)
    twin.build((None, *SHAPE[1:]))
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        getattr(twin, name).assign(getattr(norm, name).variable[0])
    return twin


def moments(*inputs):
    """Rows of batch means and of biased batch variances."""
    axes = (0, 1, 2)
    wide = [x.astype("float64") for x in inputs]
    means, variances = [x.mean(axes) for x in wide], [x.var(axes) for x in wide]
    return np.stack(means), np.stack(variances)


def test_inference_is_keras_bit_for_bit():
    norm = make()
    x = normal()
    np.testing.assert_array_equal(norm(x), keras_twin(norm)(x))


@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_training_is_keras(momentum):
    norm = make(momentum=momentum)
    twin = keras_twin(norm)
    for seed in range(3):
        x = normal(seed=seed)
        ours, theirs = norm(x, training=True), twin(x, training=True)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        for name in ("moving_mean", "moving_variance"):
            mine, other = getattr(norm, name).variable[0], getattr(twin, name)
            np.testing.assert_allclose(mine, other.numpy(), rtol=1e-6)


def test_epsilon_and_moments_are_those_of_the_definition():
    norm = make(momentum=0.9, epsilon=0.25)
    gamma, beta, mean, variance = (w[0] for w in norm.get_weights())
    x = normal()
    m, v = (row[0] for row in moments(x))
    y = norm(x, training=True)
    expected = gamma * (x - m) / np.sqrt(v + 0.25) + beta
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    new_mean, new_variance = (w[0] for w in norm.get_weights()[2:])
    np.testing.assert_allclose(new_mean, 0.9 * mean + 0.1 * m, rtol=1e-5)
    np.testing.assert_allclose(new_variance, 0.9 * variance + 0.1 * v, rtol=1e-5)


def test_a_cell_is_updated_once_with_the_average_of_its_evaluations():
    """Cell 0 is read three times, cell 1 once; each decays by the momentum once."""
    norm = make(nodes=2)
    before = [w.copy() for w in norm.get_weights()]
    stages = [(0, 0), (0, Fraction(1, 2)), (0, 1), (1, 0)]
    inputs = [normal(seed=n, shift=n) for n in range(len(stages))]
    forward = ForwardPass()
    for (n, c), x in zip(stages, inputs, strict=True):
        with at_depth(forward.at(StageTime(n, c, 2))):
            norm(x, training=True)
    # Nothing moves before the pass is over.
    np.testing.assert_array_equal(norm.get_weights()[2], before[2])
    forward.finish()
    for old, new, batch in zip(
        before[2:], norm.get_weights()[2:], moments(*inputs), strict=True
    ):
        expected = np.stack([batch[:3].mean(axis=0), batch[3]])
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * expected, rtol=1e-5)
    forward.finish()  # a second time changes nothing
    np.testing.assert_allclose(new, norm.get_weights()[3], rtol=0)


def test_evaluations_weigh_as_much_as_they_read():
    """Three steps over four cells: cell 1 is read 1/4 by step 0 and 1/2 by step 1."""
    norm = make(nodes=4)
    before = norm.get_weights()[2]
    inputs = [normal(seed=n, shift=n) for n in range(3)]
    forward = ForwardPass("average")
    for n, x in enumerate(inputs):
        with at_depth(forward.at(StageTime(n, 0, 3))):
            norm(x, training=True)
    forward.finish()
    m = moments(*inputs)[0]
    batch = np.stack([m[0], (m[0] + 2 * m[1]) / 3, (2 * m[1] + m[2]) / 3, m[2]])
    expected = 0.9 * before + 0.1 * batch
    np.testing.assert_allclose(norm.get_weights()[2], expected, rtol=1e-5)


def test_cells_that_are_not_read_keep_their_statistics():
    norm = make(nodes=4)
    before = [w.copy() for w in norm.get_weights()]
    forward = ForwardPass("point")
    for n in range(2):
        with at_depth(forward.at(StageTime(n, 0, 2))):
            norm(normal(), training=True)
    forward.finish()
    for old, new in zip(before[2:], norm.get_weights()[2:], strict=True):
        np.testing.assert_array_equal(new[1::2], old[1::2])
        assert np.all(new[0::2] != old[0::2])


def test_a_block_updates_once_per_pass():
    """rk4 evaluates one cell four times; the statistics still decay by 0.9 once."""
    block = ContinuousBlock(chain(("norm", "tanh"), 2), steps=3)
    block.build((None, *SHAPE[1:]))
    norm = block.rate.layers[0]
    norm.moving_mean.variable.assign([[1e6, -1e6]])  # the batch does not matter
    block(normal(), training=True)
    got = norm.moving_mean.variable.numpy()
    np.testing.assert_allclose(got, [[9e5, -9e5]], rtol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_evaluation_changes_no_variable(frozen):
    norm = make(nodes=2)
    norm.trainable = not frozen  # a frozen norm evaluates in training too, as Keras'
    before = norm.get_weights()
    x = normal()
    y = norm(x, training=frozen)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(y, norm(x))


@pytest.mark.parametrize("kind", BASES)
def test_every_basis(kind):
    """gamma and beta in the basis; positive statistics on its cells."""
    size = SIZES[kind]
    norm = make(randomized=False, basis=kind, nodes=size)
    cells = get_basis(kind, size).cells
    shapes = [w.shape for w in norm.get_weights()]
    assert shapes == [(size, 2), (size, 2), (cells, 2), (cells, 2)]
    x = normal()
    m, v = (row[0] for row in moments(x))
    forward = ForwardPass()
    for n in range(5):
        time = StageTime(n, Fraction(1, 2), 5)
        with at_depth(forward.at(time)):
            y = norm(x, training=True)
        # gamma(t) = 1 and beta(t) = 0 at the start, in any basis
        np.testing.assert_allclose(
            y, (x - m) / np.sqrt(v + norm.epsilon), rtol=1e-4, atol=1e-5
        )
    forward.finish()
    mean, variance = norm.get_weights()[2:]
    np.testing.assert_allclose(mean, np.tile(0.1 * m, (cells, 1)), rtol=1e-5)
    np.testing.assert_allclose(variance, np.tile(0.9 + 0.1 * v, (cells, 1)), rtol=1e-5)
    assert np.all(variance > 0)


@pytest.mark.parametrize("training", [False, True])
def test_float64(training):
    norm = make(dtype="float64")
    twin = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype="float64")
    twin.build((None, *SHAPE[1:]))
    twin.set_weights([w[0] for w in norm.get_weights()])
    x = normal(dtype="float64")
    y = norm(x, training=training)
    assert y.dtype == "float64"
    np.testing.assert_allclose(y, twin(x, training=training), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(
        norm.get_weights()[3][0], twin.get_weights()[3], rtol=1e-13
    )


@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_activations_have_float32_moments(training):
    half = make(dtype="mixed_bfloat16")
    full = make()
    x = keras.ops.cast(normal(shift=3.0), "bfloat16")
    y = half(x, training=training)
    assert y.dtype == "bfloat16"
    assert {v.dtype for v in half.variables} == {"float32"}
    # The same numbers as in float32, rounded once at the end.
    expected = full(keras.ops.cast(x, "float32"), training=training)
    np.testing.assert_allclose(
        keras.ops.cast(y, "float32"), expected, rtol=2**-8, atol=1e-6
    )
    for mine, other in zip(half.get_weights(), full.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_no_gradient_through_the_moving_statistics():
    """Two passes under one tape: the second does not see the first's moments."""
    norm = make()
    x = tf.constant(normal())
    with tf.GradientTape() as tape:
        tape.watch(x)
        norm(x, training=True)
        value = tf.reduce_sum(norm(tf.constant(normal(seed=5)), training=False))
    assert tape.gradient(value, x) is None
