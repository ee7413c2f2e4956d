"""Units that Keras' users write: wrappers, layers of their own, functions, masks."""

import functools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from cnet_tf import (
    ContinuousBlock,
    checkpoint,
    fit_growing,
    from_residual,
    manifest,
    recalibrated,
    refine,
    to_plain,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEQUENCES = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
ROWS = np.random.default_rng(1).normal(size=(8, 4)).astype("float32")


def relu(x):
    """Named as one of Keras' functions, and another."""
    return ops.leaky_relu(x, 0.3)


def model_of(*layers, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *layers])


def weights_of(block):
    """The weights of K = 1."""
    return [ops.convert_to_numpy(series.variable)[0] for series in block.series]


WRAPPED = {
    "time": lambda: L.TimeDistributed(L.Dense(4, relu)),
    "both": lambda: L.Bidirectional(
        L.SimpleRNN(2, activation=relu, return_sequences=True)
    ),
    "cell": lambda: L.RNN(L.SimpleRNNCell(4, activation=relu), return_sequences=True),
    "spectral": lambda: L.SpectralNormalization(L.Dense(4, relu)),
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("copy", [lambda net: refine(net, 2, 1), to_plain])
def test_functions_within_wrapped_layers_stay(kind, copy):
    net = model_of(WRAPPED[kind](), ContinuousBlock(L.Dense(4, "tanh")), shape=(5, 4))
    np.testing.assert_allclose(copy(net)(SEQUENCES), net(SEQUENCES), atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        relu,
        ops.gelu,  # Keras' config of it names the exact form.
        lambda x: x * ops.sigmoid(3 * x),
        functools.partial(keras.activations.leaky_relu, negative_slope=0.7),
    ],
)
def test_any_function_may_be_an_activation(function):
    block = ContinuousBlock(L.Dense(4, function), scheme="euler", steps=1)
    found = block(ROWS)
    kernel, bias = weights_of(block)
    expected = ROWS + ops.convert_to_numpy(function(ops.matmul(ROWS, kernel) + bias))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    net = model_of(L.Dense(4, function), block)
    np.testing.assert_allclose(refine(net, 2, 1)(ROWS), net(ROWS), atol=1e-6)


class FeedForward(L.Layer):
    """The usual layer of one's own: parts made in front, no `build`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.wide, self.narrow = L.Dense(8, "tanh"), L.Dense(4)

    def call(self, x):
        return self.narrow(self.wide(x))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: keras.Sequential([x])])
def test_layers_that_keras_builds_by_calling_them(wrap):
    block = ContinuousBlock(wrap(FeedForward()), nodes=2, scheme="euler")
    found, expected = block(ROWS), ROWS
    for k in range(2):
        a, b, c, d = (ops.convert_to_numpy(s.variable)[k] for s in block.series)
        expected = expected + 0.5 * (np.tanh(expected @ a + b) @ c + d)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_layer_that_nested_models_share_stays_one():
    shared = L.Dense(4, "tanh")
    x = keras.Input((4,))
    nested = keras.Model(x, shared(x))
    unit = keras.Model(x, shared(nested(x)))
    block = ContinuousBlock(unit)
    block(ROWS)
    assert len(block.weights) == len(unit.weights) == 2


@pytest.mark.parametrize(
    "regularizer", [lambda w: 0.1 * ops.sum(w * w), keras.regularizers.L2(0.1)]
)
def test_a_regularizer_is_the_sum_over_theta_k(regularizer):
    block = ContinuousBlock(L.Dense(4, kernel_regularizer=regularizer), nodes=3)
    block(ROWS)
    (loss,) = block.losses
    kernel = ops.convert_to_numpy(block.series[0].variable)
    assert np.shape(loss) == ()
    np.testing.assert_allclose(loss, 0.1 * np.sum(kernel**2), rtol=1e-5)


@pytest.mark.slow
def test_regularizers_and_constraints_work_on_jax():
    program = """
import keras, numpy as np
from cnet_tf import ContinuousBlock
unit = keras.Sequential([
    keras.layers.Dense(4, kernel_regularizer="l2", bias_constraint="max_norm"),
    keras.layers.BatchNormalization(gamma_regularizer="l2"),
])
net = keras.Sequential([keras.Input((4,)), ContinuousBlock(unit, nodes=3)])
net.compile("sgd", "mse")
x = np.ones((8, 4), "float32")
net.fit(x, x, verbose=0)
print(keras.backend.backend(), len(net.losses))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["jax", "2"], done.stderr[-2000:]


def test_a_bare_layer_sees_the_mask_at_every_evaluation():
    x = np.where(np.arange(5)[:, None] < 3, SEQUENCES, 0)
    bare, model = (
        model_of(
            L.Masking(),
            ContinuousBlock(wrap(lstm), scheme="euler", steps=2),
            shape=(5, 4),
        )
        for lstm in [L.LSTM(4, return_sequences=True)]
        for wrap in (lambda layer: layer, lambda layer: keras.Sequential([layer]))
    )
    model.set_weights(bare.get_weights())
    np.testing.assert_allclose(bare(x), model(x), atol=1e-6)


class Adds(L.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(4, 4))

    def call(self, x):
        y = ops.tanh(x @ self.kernel)
        self.add_loss(ops.sum(y**2))
        return y


@pytest.mark.parametrize("form", [{"unroll": False}, {"recompute": True}])
def test_losses_that_would_get_no_gradient_are_refused(form):
    block = ContinuousBlock(Adds(), steps=4, **form)
    with pytest.raises(ValueError, match="expected a unit that adds no losses"):
        block(ROWS, training=True)
    plain = ContinuousBlock(Adds(), scheme="euler", steps=2)
    plain(ROWS)
    assert len(plain.losses) == 2


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recurrent_layers_without_dropout_draw_nothing(dropout):
    lstm = L.LSTM(4, return_sequences=True, dropout=dropout)
    loop = ContinuousBlock(lstm, steps=3, unroll=False)
    if dropout:
        with pytest.raises(ValueError, match="draws random numbers"):
            loop(SEQUENCES)
        return
    net = model_of(loop, shape=(5, 4))
    np.testing.assert_allclose(
        net(SEQUENCES), manifest(net, unroll=True)(SEQUENCES), atol=1e-6
    )


@pytest.mark.parametrize("scheme", ["heun2", "rk4", "dopri5"])
def test_loops_read_bases_whose_functions_are_all_one(scheme):
    """As Legendre polynomials are at the end of the depth."""
    loop = ContinuousBlock(
        *(L.Dense(4, "tanh"), 2, scheme), basis="legendre", unroll=False
    )
    net = model_of(loop)
    rng = np.random.default_rng(2)
    for series in loop.series:
        series.variable.assign(rng.normal(size=series.variable.shape))
    np.testing.assert_allclose(net(ROWS), manifest(net, unroll=True)(ROWS), atol=1e-5)


def test_frozen_wrappers_and_single_weights_stay_frozen():
    wrapper = L.TimeDistributed(L.Dense(4))
    wrapper.trainable = False
    block = ContinuousBlock(wrapper)
    block(SEQUENCES)
    assert block.trainable_variables == [] and len(block.weights) == 2
    unit = model_of(L.Dense(4))
    unit.layers[0].bias.trainable = False
    block = ContinuousBlock(unit)
    block(ROWS)
    assert [v.name for v in block.trainable_variables] == ["kernel"]
    plain = to_plain(model_of(block))
    assert {v.name for v in plain.trainable_variables} == {"kernel"}
    x = start = keras.Input((4,))
    for _ in range(3):
        dense = L.Dense(4)
        x = x + dense(x)
        dense.bias.trainable = False
    net = from_residual(keras.Model(start, x))
    assert [v.name for v in net.trainable_variables] == ["kernel"]


def test_units_with_other_functions_are_no_chain():
    def scaled(a):
        def act(x):
            return ops.tanh(a * x)

        return act

    def residual(factors):
        x = start = keras.Input((4,))
        for factor in factors:
            x = x + L.Dense(4, scaled(factor))(x)
        return keras.Model(start, x)

    with pytest.raises(ValueError, match="without another of the same structure"):
        from_residual(residual([1.0, 6.0, 11.0]))
    alike = residual([2.0, 2.0, 2.0])
    np.testing.assert_array_equal(from_residual(alike)(ROWS), alike(ROWS))


def test_a_nested_model_keeps_the_mode_it_was_called_in():
    x = start = keras.Input((4,))
    for _ in range(2):
        x = x + L.BatchNormalization()(L.Dense(4)(x))
    base = keras.Model(start, x)
    net = keras.Model(start, L.Dense(1)(base(start, training=True)))
    np.testing.assert_allclose(from_residual(net)(ROWS), net(ROWS), atol=1e-5)
    norm = L.BatchNormalization()
    base = model_of(norm, ContinuousBlock(L.Dense(4)))
    net = keras.Model(start, base(start, training=True))
    with pytest.raises(ValueError, match="called without `training`"):
        to_plain(net)


def test_attention_that_takes_the_mask_off_is_refused():
    x = L.Masking()(start := keras.Input((5, 4)))
    for _ in range(2):
        x = L.Add()([x, L.MultiHeadAttention(2, 2)(x, x)])
    with pytest.raises(ValueError, match="no mask in front of attention that reads"):
        from_residual(keras.Model(start, x))


def test_recalibration_leaves_other_state_alone():
    wild = keras.initializers.RandomNormal(0, 3.0)
    unit = keras.Sequential([L.Dense(4), L.BatchNormalization()])
    net = model_of(
        L.SpectralNormalization(L.Dense(4, kernel_initializer=wild)),
        L.Dropout(0.5),
        ContinuousBlock(unit),
    )
    before = net.get_weights(), net(ROWS)
    seeds = [ops.convert_to_numpy(v) for v in net.layers[1].variables]
    recalibrated(net, [ROWS, 2 * ROWS])
    for old, new in zip(before[0], net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(net(ROWS), before[1])
    np.testing.assert_array_equal(seeds, [v.numpy() for v in net.layers[1].variables])


def test_a_block_called_twice_and_its_activity_become_plain():
    block = ContinuousBlock(
        L.Dense(4, "tanh"), nodes=2, activity_regularizer=keras.regularizers.L2(0.1)
    )
    one, other = keras.Input((4,)), keras.Input((4,))
    net = keras.Model([one, other], block(one) - block(other))
    plain = to_plain(net)
    inputs = [ROWS, 2 * ROWS]
    np.testing.assert_allclose(plain(inputs), net(inputs), atol=1e-5)
    np.testing.assert_allclose(
        sum(map(float, plain.losses)), sum(map(float, net.losses)), rtol=1e-5
    )


def test_a_unit_may_compute_in_another_type_than_the_states():
    block = ContinuousBlock(L.Dense(4, dtype="mixed_bfloat16"), scheme="euler")
    assert block(ROWS).dtype == "float32"


@pytest.mark.parametrize("kind", ["time", "both", "cell"])
def test_checkpoints_read_wrapped_layers_back(kind, tmp_path):
    layer = WRAPPED[kind]()
    for part in (layer, *layer._flatten_layers(include_self=False)):
        if getattr(part, "activation", None) is relu and hasattr(part, "units"):
            part.activation = keras.activations.tanh
    net = model_of(ContinuousBlock(layer, nodes=2), shape=(5, 4))
    checkpoint.save(net, tmp_path)
    found = checkpoint.load(tmp_path).net
    np.testing.assert_array_equal(found(SEQUENCES), net(SEQUENCES))


def test_files_hold_no_weights_of_patterns(tmp_path):
    net = model_of(ContinuousBlock(L.Dense(64), nodes=1), shape=(64,))
    net.save(tmp_path / "my.keras")
    kernels = 4 * 64 * 64
    assert (tmp_path / "my.keras").stat().st_size < 1.9 * kernels
    x = np.ones((2, 64), "float32")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "my.keras")(x), net(x)
    )


def test_growth_may_come_before_the_first_epoch():
    net = model_of(ContinuousBlock(L.Dense(4, "tanh")))
    net.compile(keras.optimizers.SGD(0.1, 0.9), "mse")
    deep, history = fit_growing(net, ROWS, ROWS, grow={0: 2}, epochs=1, verbose=0)
    assert deep.layers[0].nodes == 2 and len(history.epoch) == 1


def test_inputs_stay_sparse():
    x = keras.Input((4,), sparse=True)
    net = keras.Model(x, ContinuousBlock(L.Dense(4))(L.Dense(4)(x)))
    assert manifest(net).inputs[0].sparse and refine(net, 2).inputs[0].sparse
