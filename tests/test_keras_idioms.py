"""What users of Keras and TensorFlow do with layers: blocks are layers in all of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

from cnet_tf import ContinuousBlock, manifest, project, refine
from cnet_tf.fresh_layer import fresh
from cnet_tf.lifted_layer import LiftedLayer
from cnet_tf.observed_order import observe
from cnet_tf.tableaus import SCHEMES, ButcherTableau
from cnet_tf.trajectory import TappedNet

ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")

UNITS = {
    "dense": lambda: L.Dense(4, "tanh"),
    "norm": lambda: keras.Sequential([L.Dense(4, "tanh"), L.BatchNormalization()]),
}


@keras.saving.register_keras_serializable("idioms")
class Subclassed(keras.Model):
    def __init__(self, unit="dense", **kwargs):
        super().__init__(**kwargs)
        self.unit = unit
        self.block = ContinuousBlock(UNITS[unit](), nodes=2)
        self.head = L.Dense(3)

    def call(self, x):
        return self.head(self.block(x))

    def get_config(self):
        return {**super().get_config(), "unit": self.unit}


@keras.saving.register_keras_serializable("idioms")
class Custom(L.Layer):
    """Builds its parts on the first call, as many custom layers do."""

    def __init__(self, unit="dense", **kwargs):
        super().__init__(**kwargs)
        self.unit = unit
        self.block = ContinuousBlock(UNITS[unit](), nodes=2)

    def call(self, x):
        return self.block(x)

    def get_config(self):
        return {**super().get_config(), "unit": self.unit}


def randomize(model):
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(np.abs(rng.normal(size=variable.shape)))


def net_of(*layers, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *layers])


MODELS = {
    "subclassed": Subclassed,
    "in a custom layer": lambda unit: net_of(Custom(unit)),
    "in TimeDistributed": lambda unit: net_of(
        L.Reshape((1, 4)),
        L.TimeDistributed(ContinuousBlock(UNITS[unit](), nodes=2)),
    ),
    "a net": lambda unit: net_of(ContinuousBlock(UNITS[unit](), nodes=2)),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("trained", [False, True])
def test_models_of_any_kind_are_read_back(kind, unit, trained, tmp_path):
    model = MODELS[kind](unit)
    model(ROWS)
    randomize(model)
    if trained:
        model.compile("sgd", "mse")
        model.fit(ROWS, np.zeros(model(ROWS).shape), verbose=0)
    expected = model(ROWS)
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert len(again.weights) == len(model.weights) > 0
    np.testing.assert_array_equal(again(ROWS), expected)


@pytest.mark.parametrize("unit", UNITS)
def test_draws_differ_where_keras_builds_without_values(unit):
    model = net_of(Custom(unit))
    (kernel, *_) = model.layers[0].block.series
    first, second = ops.convert_to_numpy(kernel.variable)
    assert np.abs(first - second).min() > 0


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["a net", "subclassed"])
def test_checkpoints_of_tensorflow_hold_the_weights(kind, unit, tmp_path):
    models = [MODELS[kind](unit) for _ in range(2)]
    for model in models:
        model(ROWS)
    randomize(models[0])
    path = tf.train.Checkpoint(net=models[0]).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(net=models[1]).read(path).assert_consumed()
    np.testing.assert_array_equal(models[1](ROWS), models[0](ROWS))
    assert len(models[0].weights) == len({v.path for v in models[0].weights})


class Late(L.Layer):
    """Makes a weight in `build`, and the rest on the first call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.outer = L.Dense(8, "tanh"), L.Dense(4)

    def build(self, input_shape):
        self.size = self.add_weight(shape=(4,), initializer="ones", name="size")

    def call(self, x):
        return self.size * self.outer(self.inner(x))


@pytest.mark.parametrize("bare", [True, False])
def test_parts_that_are_built_late_are_lifted(bare):
    unit = Late() if bare else net_of(Late())
    block = ContinuousBlock(unit, nodes=2, scheme="euler")
    outputs = block(ROWS)
    assert [series.variable.shape[0] for series in block.series] == [2] * 5
    layer, x = Late(), ROWS
    layer(x)
    for cell in range(2):
        values = [ops.convert_to_numpy(s.variable)[cell] for s in block.series]
        layer.set_weights(values)
        x = x + 0.5 * ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(outputs, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bare", [True, False])
def test_weights_that_are_made_in_calls_are_named(bare):
    """Keras builds the activation of a `Dense` when that is called with numbers."""
    unit = L.Dense(4, activation=L.PReLU())
    block = ContinuousBlock(unit if bare else net_of(unit), nodes=1, scheme="euler")
    with pytest.raises(ValueError, match="layer: .*which makes '.*alpha' when it is"):
        block(ROWS)


class Twice(L.Layer):
    """Has nothing to build."""

    def call(self, x):
        return 2 * x


class Pair(L.Layer):
    """Two inputs, and a part that it does not build."""

    part = L.Dense

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = self.part(4, name="inner") if self.part is L.Dense else self.part()

    def build(self, x_shape, y_shape):
        self.size = self.add_weight(shape=(4,), initializer="ones", name="size")

    def call(self, x, y):
        return self.size * self.inner(x) + y


class SimplePair(Pair):
    part = Twice


def test_parts_that_cannot_be_built_are_named():
    x = keras.Input((4,))
    with pytest.raises(ValueError, match="layer: .*'pair', which leaves 'inner'"):
        ContinuousBlock(keras.Model(x, Pair(name="pair")(x, x)), nodes=2)
    block = ContinuousBlock(keras.Model(x, SimplePair()(x, x)), scheme="euler")
    np.testing.assert_allclose(block(ROWS), 4 * ROWS, rtol=1e-6)


def test_shapes_that_a_layer_may_leave_out():
    layer = LiftedLayer(L.MultiHeadAttention(2, 2), nodes=2)
    shape = (None, 5, 4)
    layer.build(query_shape=shape, value_shape=shape, key_shape=None)
    assert len(layer.series) == 8


LOSSES = {
    "huber": lambda: keras.losses.Huber(0.3),
    "own": lambda: lambda y, z: ops.mean(ops.abs(y - z) ** 3),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "copy",
    [manifest, lambda net: refine(net, 1), lambda net: project(net, "hat", 3)],
)
def test_copies_of_compiled_nets_have_the_same_loss(loss, copy):
    net = net_of(ContinuousBlock(L.Dense(4, "tanh"), nodes=2))
    net.compile("sgd", LOSSES[loss](), metrics=["mae"], loss_weights=[7.0])
    twin = copy(net)
    found = twin.evaluate(ROWS, 3 * ROWS, verbose=0, return_dict=True)
    reference = keras.Model(twin.inputs, twin.outputs)
    reference.compile("sgd", LOSSES[loss](), metrics=["mae"], loss_weights=[7.0])
    expected = reference.evaluate(ROWS, 3 * ROWS, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-6)


def test_copies_have_metrics_of_their_own():
    net = net_of(ContinuousBlock(L.Dense(4, "tanh"), nodes=2))
    metrics = [keras.metrics.MeanSquaredError(name="squares"), "mae"]
    net.compile("sgd", "mse", metrics=metrics)
    net.train_on_batch(ROWS, ROWS)
    before = float(metrics[0].count)
    manifest(net).evaluate(ROWS, ROWS, verbose=0)
    assert float(metrics[0].count) == before > 0


def test_nets_that_are_compiled_without_an_optimizer_are_copied():
    net = net_of(ContinuousBlock(L.Dense(4, "tanh"), nodes=2))
    net.compile(None, "mse")
    found = manifest(net).evaluate(ROWS, ROWS, verbose=0)
    assert found == net.evaluate(ROWS, ROWS, verbose=0)


def test_blocks_that_are_called_twice_are_not_analysed():
    """Each call has a start of its own."""
    a, b = keras.Input((4,)), keras.Input((4,))
    block = ContinuousBlock(L.Dense(4, "tanh"), name="shared")
    net = keras.Model([a, b], L.Dense(3)(block(a) - block(b)))
    with pytest.raises(ValueError, match="'shared', which is called 2 times"):
        TappedNet(net)
    with pytest.raises(ValueError, match="'shared', which is called 2 times"):
        observe(net, [([ROWS, ROWS], None)])


def test_layers_that_ask_for_tuples_are_read_back(tmp_path):
    layer = L.ConvLSTM2D(2, 3, padding="same", return_sequences=True)
    net = net_of(ContinuousBlock(layer, nodes=2, steps=1), shape=(2, 3, 3, 2))
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 3, 2))
    np.testing.assert_array_equal(again(x), net(x))


class Telling(L.Dense):
    """Uses its activation while its config is asked for, as other threads may."""

    def get_config(self):
        self.seen = self.activation(2.0)
        return super().get_config()


def test_a_layer_works_while_it_is_copied():
    layer = Telling(4, activation=lambda x: 3 * x)
    twin = fresh(layer)
    assert layer.seen == 6.0 and twin.activation(2.0) == 6.0


def test_a_tableau_that_files_could_not_name_is_refused():
    euler = SCHEMES["euler"]
    assert ContinuousBlock(L.Dense(4), scheme=euler).scheme == "euler"
    for name in ("mine", "rk4"):
        mine = ButcherTableau(name, euler.a, euler.b, euler.c)
        with pytest.raises(ValueError, match=f"scheme: .* tableau '{name}' that is no"):
            ContinuousBlock(L.Dense(4), scheme=mine)
