"""Any Keras layer or model as the rate of a block, beside layers of Keras."""

import gc
import json
import random
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.fresh_layer import fresh
from cnet_tf.lifted_layer import LiftedLayer, lift
from cnet_tf.series import SeriesLayer
from cnet_tf.series_norm import SeriesBatchNormalization

L = keras.layers


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def post():
    """conv, ReLU, norm, conv, ReLU, norm: a plain Sequential model of Keras layers."""
    return keras.Sequential(
        [
            L.Conv2D(4, 3, padding="same", name="conv_0"),
            L.ReLU(),
            L.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm_0"),
            L.Conv2D(4, 3, padding="same", name="conv_1"),
            L.ReLU(),
            L.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm_1"),
        ]
    )


def inverted_residual():
    """1x1, depthwise, 1x1 convolutions with norms, as in mobile nets."""
    x = inputs = keras.Input((8, 8, 4))
    x = L.BatchNormalization()(L.Conv2D(8, 1, use_bias=False)(x))
    x = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(L.ReLU(6.0)(x)))
    return keras.Model(inputs, L.Conv2D(4, 1)(x), name="inverted_residual")


def encoder():
    """Attention and a feed-forward part, each with its own skip, and dropout."""
    inputs = keras.Input((5, 8))
    x = L.LayerNormalization()(inputs)
    x = L.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
    y = L.LayerNormalization()(L.Add()([inputs, x]))
    y = L.Dropout(0.1)(L.Dense(8)(L.Dense(16, "gelu")(y)))
    return keras.Model(inputs, L.Add()([x, y]), name="encoder")


UNITS = {
    "post": (post, (8, 8, 4)),
    "inverted_residual": (inverted_residual, (8, 8, 4)),
    "encoder": (encoder, (5, 8)),
    "dense": (lambda: L.Dense(6, "tanh"), (6,)),
}


def model_of(unit, shape, **arguments):
    x = keras.Input(shape)
    block = ContinuousBlock(unit, name="block", **arguments)
    return keras.Model(x, block(x)), block


def randomize(model, seed=1):
    rng = np.random.default_rng(seed)
    for v in model.variables:
        if "seed" not in v.name:
            v.assign(rng.uniform(0.2, 0.8, size=v.shape))


def test_euler_is_a_residual_net_of_keras_layers_bit_for_bit():
    """N = K, eps = K: x + R(theta_k, x) for every k, in inference."""
    model, block = model_of(post(), (8, 8, 4), nodes=3, scheme="euler", horizon=3)
    randomize(model)
    x = expected = normal((2, 8, 8, 4))
    values = {v.path.split("block/")[1].split("/", 1)[1]: v for v in model.variables}
    for k in range(3):
        unit = post()
        unit.build((None, 8, 8, 4))
        for v in unit.variables:
            v.assign(values["/".join(v.path.split("/")[-2:])][k])
        expected = expected + unit(expected)
    np.testing.assert_array_equal(model(x), expected)


@pytest.mark.parametrize("name", UNITS)
def test_gradients_reach_every_weight(name):
    make, shape = UNITS[name]
    model, _ = model_of(make(), shape, nodes=2, scheme="midpoint")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(3 * model(normal((3, *shape)), training=True)))
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    pairs = zip(model.trainable_variables, found, strict=True)
    # A bias of the keys moves all scores of a query alike: its gradient is zero.
    assert not [
        v.path
        for v, g in pairs
        if g is None or (not np.any(g) and "key_bias" not in v.path)
    ]


@pytest.mark.parametrize("basis", ["constant", "hat", "legendre"])
@pytest.mark.parametrize("name", UNITS)
def test_a_keras_file_is_bit_equal(name, basis, tmp_path):
    make, shape = UNITS[name]
    model, _ = model_of(make(), shape, nodes=3, basis=basis)
    randomize(model)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    x = normal((2, *shape))
    np.testing.assert_array_equal(loaded(x), model(x))
    configs = [json.dumps(m.get_config(), sort_keys=True) for m in (loaded, model)]
    assert configs[0] == configs[1]


def test_each_node_is_a_draw_of_its_own_and_constants_are_constant():
    rate = lift(post(), "legendre", 3)
    rate.build((None, 8, 8, 4))
    kernel, bias = rate.layers[0].get_weights()
    assert len({theta.tobytes() for theta in kernel}) == 3
    assert not np.any(bias)
    gamma = rate.layers[2].get_weights()[0]
    # gamma(t) = 1: the coefficient of the constant polynomial alone.
    np.testing.assert_array_equal(gamma, [[1] * 4, [0] * 4, [0] * 4])


def test_settings_are_those_of_the_layer():
    layer = L.Dense(
        4,
        name="hidden",
        kernel_regularizer=keras.regularizers.L2(0.1),
        kernel_constraint=keras.constraints.MaxNorm(1.0, axis=0),
        trainable=False,
        dtype="float64",
    )
    lifted = lift(layer, nodes=3)
    lifted.build((None, 4))
    assert lifted.name == "hidden"
    assert lifted.trainable_variables == []
    assert {v.dtype for v in lifted.variables} == {"float64"}
    kernel = lifted.series[0].variable
    kernel.assign(2 * normal((3, 4, 4)))
    theta = kernel.numpy()
    np.testing.assert_allclose(kernel.regularizer(kernel), 0.1 * np.sum(theta**2))
    norms = np.linalg.norm(kernel.constraint(kernel), axis=1)
    assert np.all(norms <= 1 + 1e-6) and norms.shape == (3, 4)


def test_a_batch_norm_becomes_a_series_norm_of_its_settings():
    norm = L.BatchNormalization(momentum=0.7, epsilon=0.01, scale=False, name="norm")
    lifted = lift(norm, "hat", 3)
    assert isinstance(lifted, SeriesBatchNormalization)
    assert (lifted.momentum, lifted.epsilon, lifted.scale) == (0.7, 0.01, False)
    assert lifted.basis.key == ("hat", 3)
    lifted.build((None, 4))
    assert [v.name for v in lifted.trainable_variables] == ["beta"]
    assert [v.shape[0] for v in lifted.non_trainable_variables] == [2, 2]


def test_statistics_move_in_stateless_training():
    """What JAX trains with: Keras' `stateless_call` hands `training` to `call` only."""
    model, _ = model_of(post(), (8, 8, 4), nodes=2)
    state = [v.value for v in model.non_trainable_variables]
    _, moved = model.stateless_call(
        [v.value for v in model.trainable_variables],
        state,
        normal((4, 8, 8, 4)),
        training=True,
    )
    assert all(np.any(a != b) for a, b in zip(state, moved, strict=True))


def test_dropout_draws_anew_at_every_pass():
    model, _ = model_of(encoder(), (5, 8), nodes=2)
    x = normal((2, 5, 8))
    first, second = model(x, training=True), model(x, training=True)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(model(x), model(x))


def test_mixed_precision_computes_in_half_and_keeps_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, _ = model_of(post(), (8, 8, 4), nodes=2)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(normal((2, 8, 8, 4)), training=True).dtype == "bfloat16"
    assert {v.dtype for v in model.variables} == {"float32"}


def test_the_unit_is_left_alone():
    unit = inverted_residual()
    before = unit.get_weights()
    model_of(unit, (8, 8, 4), nodes=2)
    for a, b in zip(before, unit.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not [x for x in unit.layers if isinstance(x, SeriesLayer)]


class Subclassed(keras.Model):
    def call(self, x):
        return x


class Counting(L.Layer):
    """State that is neither a norm's nor a seed."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1],), name="kernel")
        self.count = self.add_weight(shape=(), name="count", trainable=False)

    def call(self, x):
        return x * self.kernel


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (Subclassed(name="mine"), "unit: .*'mine', a Subclassed.*functional model"),
        (keras.Sequential([L.Dense(4), Subclassed(name="in")]), "unit: .*'in'"),
        (L.ReLU(name="bend"), "unit: expected layers with weights. Received 'bend'"),
        ("dense", "unit: expected a Keras layer or model. Received 'dense'"),
        (L.BatchNormalization(axis=1), "over the last axis.*axis=1"),
        (L.BatchNormalization(renorm=True), "without renorm. Received renorm=True"),
    ],
)
def test_what_cannot_be_lifted_is_refused(unit, message):
    with pytest.raises(ValueError, match=message):
        ContinuousBlock(unit, nodes=2)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (Counting(name="c"), "layer 'c', a Counting, which updates 'count' itself"),
        (L.Dense(5, name="wide"), r"unit: .*\(None, 4\). Received \(None, 5\)"),
    ],
)
def test_what_shows_when_it_is_built_is_refused_then(unit, message):
    with pytest.raises(ValueError, match=message):
        model_of(unit, (4,), nodes=2)


def test_config_round_trip():
    lifted = LiftedLayer(L.Dense(3, "tanh"), basis="hat", nodes=3, name="mine")
    twin = LiftedLayer.from_config(lifted.get_config())
    assert twin.get_config() == lifted.get_config()
    assert (twin.name, twin.basis.key) == ("mine", ("hat", 3))


def test_the_copy_for_configs_takes_no_seed_of_what_is_trained():
    after = []
    for make in (LiftedLayer, lambda layer: fresh(layer, trainable=True)):
        layer = L.Dense(4)
        keras.utils.set_random_seed(0)
        make(layer)
        after.append(random.random())
    assert after[0] == after[1]


def sequences():
    """Layers that wrap others."""
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            L.TimeDistributed(L.Dense(4, "tanh")),
            L.RNN(L.SimpleRNNCell(4), return_sequences=True),
        ]
    )


@pytest.mark.parametrize("unit", [post, inverted_residual, encoder, sequences])
def test_what_is_written_to_a_file_outlives_the_writing(tmp_path, monkeypatch, unit):
    # Keras recognises objects by their `id`: that of a gone one may be another's, and
    # the two were read back as one.
    pattern = unit()
    shape = (8, 8, 4) if unit is post else pattern.input_shape[1:]
    net = keras.Sequential([keras.Input(shape), ContinuousBlock(pattern, nodes=2)])
    written = []
    library = keras.src.saving.serialization_lib
    record = library.record_object_after_serialization

    def recorded(found, config):
        written.append((weakref.ref(found), config["class_name"]))
        record(found, config)

    monkeypatch.setattr(library, "record_object_after_serialization", recorded)
    net.save(tmp_path / "net.keras")
    gc.collect()
    assert len(written) > 10
    assert [name for found, name in written if found() is None] == []
