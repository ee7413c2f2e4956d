"""Whatever makes a net from a net keeps what the first one computes, or refuses it."""

import keras
import numpy as np
import pytest

from cnet_tf import (
    ContinuousBlock,
    checkpoint,
    fit_growing,
    from_residual,
    manifest,
    project,
    refine,
    to_plain,
)
from cnet_tf.any_depth import with_members, with_own_norms
from cnet_tf.architecture import copied
from cnet_tf.lifted_layer import lift
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.surgery import blocks_of
from cnet_tf.tolerance import steps_for_tolerance
from cnet_tf.trajectory import TappedNet
from export.folding import fold

layers = keras.layers


def unit():
    return keras.Sequential([layers.Dense(5, "tanh"), layers.Dense(4)])


def net_of(*front, block=None):
    x = inputs = keras.Input((4,))
    for layer in front:
        x = layer(x)
    block = block or ContinuousBlock(unit(), nodes=2, scheme="euler", name="block")
    return keras.Model(inputs, layers.Dense(2)(block(x)))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(20, 5, size=(32, 4)).astype("float32")


def saved_and_read(net, folder):
    checkpoint.save(net, folder / "net")
    return checkpoint.load(folder / "net").net


COPIES = {
    "manifest": lambda net, _: manifest(net, "euler", 2),
    "refine": lambda net, _: refine(net, 2, 1),
    "project": lambda net, _: project(net, basis="constant", nodes=2, steps=2),
    "plain": lambda net, _: to_plain(net),
    "copied": lambda net, _: copied(net),
    "own norms": lambda net, _: with_own_norms(net),
    "checkpoint": saved_and_read,
}
every_copy = pytest.mark.parametrize("kind", COPIES)


@every_copy
def test_what_normalization_was_adapted_to(kind, x, tmp_path):
    """Its tensors are made of variables, of which it hears nothing."""
    normalization = layers.Normalization()
    normalization.adapt(x)
    net = net_of(normalization, layers.BatchNormalization())
    copy = COPIES[kind](net, tmp_path)
    np.testing.assert_allclose(copy(x), net(x), atol=1e-5)
    assert np.abs(net(x) - net(0 * x)).max() > 1e-3


def test_adapted_normalization_in_front_of_blocks_of_two_schemes(x):
    normalization = layers.Normalization()
    normalization.adapt(x)
    y = inputs = keras.Input((4,))
    y = normalization(y)
    for scheme in ("euler", "midpoint"):
        y = ContinuousBlock(unit(), scheme=scheme)(y)
    net = keras.Model(inputs, y)
    np.testing.assert_array_equal(with_own_norms(net)(x), net(x))


def test_adapted_normalization_in_front_of_residual_units(x):
    normalization = layers.Normalization()
    normalization.adapt(x)
    y = inputs = keras.Input((4,))
    y = normalization(y)
    for _ in range(2):
        y = y + layers.Dense(4, "tanh")(y)
    net = keras.Model(inputs, y)
    np.testing.assert_allclose(from_residual(net)(x), net(x), atol=1e-5)


def test_adapted_normalization_of_a_net_that_grows(x):
    normalization = layers.Normalization()
    normalization.adapt(x)
    net = net_of(normalization)
    net.compile(keras.optimizers.SGD(0.0), "mse")
    _, history = fit_growing(
        net, x, 0 * x[:, :2], grow={1: 2}, epochs=2, verbose=0, shuffle=False
    )
    first, second = history.history["loss"]
    # More steps change it a little, a lost mean by a factor of hundred.
    assert second == pytest.approx(first, rel=0.05)


@pytest.mark.parametrize(
    "layer",
    [
        layers.IntegerLookup(),
        layers.StringLookup(),
        layers.TextVectorization(output_sequence_length=1),
    ],
    ids=lambda layer: layer.name,
)
def test_lookups_are_shared_and_no_part_of_a_file(layer):
    words = np.array([1, 2, 3]) if "integer" in layer.name else np.array(["a", "b"])
    layer.adapt(words)
    kind = "int64" if "integer" in layer.name else "string"
    inputs = keras.Input((1,), dtype=kind)
    x = layers.Embedding(8, 4)(layer(inputs))
    x = ContinuousBlock(layers.Dense(4), nodes=2)(layers.Flatten()(x))
    net = keras.Model(inputs, x)
    given = keras.ops.convert_to_tensor(words[:, None])
    for copy in (manifest(net), refine(net, 2, steps_factor=1), to_plain(net)):
        np.testing.assert_allclose(copy(given), net(given), atol=1e-6)
    name = layer.name
    with pytest.raises(ValueError, match=f"lookups with a vocabulary.*{name}"):
        copied(net)
    assert layer.name == name


def relu(x):
    """Of the user, with the name of one of Keras."""
    return keras.ops.leaky_relu(x, 0.3)


def curved(x):
    return keras.ops.sin(x)


@pytest.mark.parametrize("function", [relu, curved])
def test_functions_of_the_user_are_not_taken_for_those_of_keras(function, x):
    x = (x - 20) / 5
    dense = layers.Dense(4, function)
    block = ContinuousBlock(dense, nodes=1, scheme="euler", steps=1, name="block")
    inputs = keras.Input((4,))
    net = keras.Model(inputs, layers.Dense(4, function)(block(inputs)))
    kernel, bias = (np.array(s.variable)[0] for s in block.series)
    expected = x + np.array(function(x @ kernel + bias))
    np.testing.assert_allclose(block(x), expected, rtol=1e-4, atol=1e-5)
    for copy in (
        refine(net, 2, steps_factor=1),
        project(net, nodes=1, steps=1),
        to_plain(net),
        manifest(net),
    ):
        np.testing.assert_allclose(copy(x), net(x), atol=1e-5)


def test_functions_of_the_user_in_the_cell_of_a_recurrent_layer():
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    recurrent = layers.SimpleRNN(3, activation=relu, return_sequences=True)
    inputs = keras.Input((5, 3))
    block = ContinuousBlock(layers.Dense(3))
    net = keras.Model(inputs, block(recurrent(inputs)))
    np.testing.assert_allclose(refine(net, 2, steps_factor=1)(x), net(x), atol=1e-5)


def test_a_lambda_is_shared(x):
    net = net_of(layers.Lambda(lambda x: 3 * x, name="thrice"))
    for copy in (refine(net, 2, steps_factor=1), to_plain(net)):
        np.testing.assert_allclose(copy(x), net(x), rtol=1e-4, atol=1e-4)


class Scaled(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


def test_a_subclass_of_sequential_is_no_list_of_layers(x):
    inner = Scaled([layers.Dense(4)], name="scaled")
    net = net_of(inner)
    np.testing.assert_array_equal(manifest(net)(x), net(x))
    np.testing.assert_allclose(fold(net)(x), net(x), atol=1e-4)
    with pytest.raises(ValueError, match="unit: expected.*Scaled"):
        ContinuousBlock(Scaled([layers.Dense(4)]))
    whole = Scaled([keras.Input((4,)), ContinuousBlock(unit())])
    for made in (manifest, refine, to_plain):
        with pytest.raises(ValueError, match="Scaled"):
            made(whole) if made is not refine else made(whole, 2)


class Gained(ContinuousBlock):
    """With an argument of its own, which it needs."""

    def __init__(self, unit, gain, **kwargs):
        super().__init__(unit, **kwargs)
        self.gain = gain

    def call(self, x, training=None, mask=None):
        return self.gain * super().call(x, training=training, mask=mask)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}


@pytest.mark.parametrize("kind", ["manifest", "refine", "project"])
def test_a_subclass_of_a_block_keeps_its_arguments(kind, x, tmp_path):
    block = Gained(unit(), gain=3.0, nodes=2, scheme="euler", name="block")
    net = net_of(block=block)
    copy = COPIES[kind](net, tmp_path)
    np.testing.assert_allclose(copy(x), net(x), rtol=1e-4, atol=1e-4)
    assert [b.gain for b in blocks_of(copy)] == [3.0]


def test_a_block_with_a_call_of_its_own_is_not_taken_apart(x):
    net = net_of(block=Gained(unit(), gain=3.0, nodes=2, name="block"))
    for taken in (to_plain, TappedNet, lambda net: steps_for_tolerance(net, [x], 0.1)):
        with pytest.raises(ValueError, match="do not override `call`.*'block', a Gain"):
            taken(net)


class Doubled(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


def test_a_subclass_of_batch_normalization_becomes_no_series_norm(x):
    with pytest.raises(ValueError, match="a batch norm of Keras. Received .*Doubled"):
        ContinuousBlock(keras.Sequential([layers.Dense(4), Doubled()]))
    net = net_of(Doubled(name="doubled"))
    np.testing.assert_array_equal(with_own_norms(net)(x), net(x))
    with pytest.raises(ValueError, match="'doubled', a Doubled"):
        with_members(net, ["euler:1"])


@pytest.mark.parametrize("kind", ["refine", "project", "checkpoint"])
def test_single_weights_stay_frozen(kind, x, tmp_path):
    net = net_of()
    net.layers[-1].bias.trainable = False
    blocks_of(net)[0].series[1].variable.trainable = False
    copy = COPIES[kind](net, tmp_path)
    frozen = [not v.trainable for v in net.variables]
    assert sum(frozen) == 2
    assert [not v.trainable for v in copy.variables] == frozen


def test_an_optimizer_goes_on_without_frozen_weights(x):
    net = net_of()
    net.layers[-1].bias.trainable = False
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    new, carried = refine(net, 2, optimizer=optimizer)
    assert len(carried.variables) == len(optimizer.variables)
    assert len(new.trainable_variables) == len(net.trainable_variables)


def test_a_block_that_is_called_in_training_does_not_become_plain():
    inputs = keras.Input((4,))
    norm = keras.Sequential([layers.Dense(4), layers.BatchNormalization()])
    net = keras.Model(inputs, ContinuousBlock(norm)(inputs, training=True))
    with pytest.raises(ValueError, match="without `training`"):
        to_plain(net)


def test_channels_are_those_of_the_build():
    """Also where Keras lets a last axis of one pass."""
    convolutions = keras.Sequential([layers.Conv2D(4, 3, padding="same")])
    lifted = lift(convolutions)
    lifted.build((None, 8, 8, 1))
    norm = SeriesBatchNormalization()
    norm.build((None, 8, 8, 1))
    block = ContinuousBlock(
        keras.Sequential(
            [layers.Conv2D(4, 3, padding="same"), layers.Conv2D(1, 3, padding="same")]
        )
    )
    inputs = keras.Input((8, 8, 1))
    net = keras.Model(inputs, block(inputs))
    for layer in (lifted, norm, net):
        layer(np.ones((2, 8, 8, 1), "float32"))
        with pytest.raises(ValueError, match="incompatible|expected"):
            layer(np.ones((2, 8, 8, 4), "float32"))


@pytest.mark.parametrize("horizon", [np.nan, np.inf, None, "2", True])
def test_a_horizon_is_a_finite_number(horizon):
    with pytest.raises(ValueError, match="horizon: expected a number"):
        ContinuousBlock(unit(), horizon=horizon)


def test_a_horizon_may_be_a_scalar_of_numpy(x):
    block = ContinuousBlock(unit(), horizon=np.float32(0.5))
    assert block.horizon == 0.5 and isinstance(block.horizon, float)
