"""What people do with any Keras model, done with blocks: nothing is dropped."""

import keras
import numpy as np
import pytest
from keras import ops

from cnet_tf import (
    ContinuousBlock,
    fit_growing,
    from_residual,
    manifest,
    project,
    recalibrate,
    refine,
    to_plain,
)

L = keras.layers
X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :1]


def dense(**settings):
    keras.utils.set_random_seed(0)
    unit = keras.Sequential([L.Dense(8, "tanh"), L.Dense(4)])
    block = ContinuousBlock(unit, name="block", **settings)
    return keras.Sequential([keras.Input((4,)), block, L.Dense(1)])


def my_loss(y, p):
    return ops.mean(ops.square(y - p))


class MySchedule(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}


@pytest.fixture
def compiled():
    """Loss, metric and schedule of one's own, of which Keras can make no config."""
    model = dense()
    optimizer = keras.optimizers.SGD(MySchedule())
    model.compile(optimizer, my_loss, metrics=[lambda y, p: ops.max(ops.abs(y - p))])
    return model


@pytest.mark.parametrize(
    "change", [manifest, lambda net: refine(net, 2, steps_factor=1)]
)
def test_a_model_compiled_with_ones_own_loss_changes_its_depth(compiled, change):
    new = change(compiled)
    np.testing.assert_allclose(new(X), compiled(X), atol=1e-6)
    assert compiled.compiled


def test_a_model_compiled_with_known_names_stays_compiled():
    model = dense()
    model.compile("sgd", "mse")
    assert manifest(model, steps=2).evaluate(X, Y, verbose=0) > 0


def test_growth_keeps_ones_own_loss_and_metric(compiled):
    weights, settings = compiled.get_weights(), {"shuffle": False, "verbose": 0}
    history = compiled.fit(X, Y, epochs=3, **settings).history
    compiled.set_weights(weights)
    _, again = fit_growing(compiled, X, Y, grow={1: 1}, epochs=3, **settings)
    assert again.history.keys() == history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(again.history[name], values, rtol=1e-5)


def test_growth_by_one_is_one_training_with_averages_of_weights():
    """`fit` puts averages in place of the weights when it ends, not in its middle."""

    def net():
        model = dense()
        optimizer = keras.optimizers.SGD(0.1, 0.9, use_ema=True, ema_momentum=0.9)
        model.compile(optimizer, "mse")
        return model

    plain, shared = net(), {"batch_size": 16, "shuffle": False, "verbose": 0}
    plain.fit(X, Y, epochs=4, **shared)
    grown, _ = fit_growing(net(), X, Y, grow={1: 1, 2: 1, 3: 1}, epochs=4, **shared)
    for a, b in zip(plain.get_weights(), grown.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_callbacks_know_how_many_epochs_there_are():
    seen = []

    class Tells(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, self.params["epochs"]))

    model = dense()
    model.compile("sgd", "mse")
    fit_growing(model, X, Y, grow={1: 2}, epochs=3, callbacks=[Tells()], verbose=0)
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_the_best_weights_of_before_the_growth_are_refined():
    model = dense()
    model.compile(keras.optimizers.SGD(0.01), "mse")
    stop = keras.callbacks.EarlyStopping(
        "loss", patience=9, restore_best_weights=True, start_from_epoch=0
    )

    class Worse(keras.callbacks.Callback):
        """After the first epoch the loss is large, whatever is learned."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.best = self.model(X).numpy()
                self.model.layers[-1].bias.assign([1e3])

    worse = Worse()
    deep, _ = fit_growing(
        model, X, Y, grow={1: 2}, epochs=2, callbacks=[worse, stop], verbose=0
    )
    assert deep.get_layer("block").nodes == 2
    np.testing.assert_allclose(deep(X), worse.best, atol=1e-5)


@pytest.fixture
def twice():
    """Two blocks around one rate."""
    keras.utils.set_random_seed(0)
    unit = keras.Sequential([L.Dense(8, "tanh"), L.Dense(4)])
    first = ContinuousBlock(unit, nodes=2, name="first")
    second = ContinuousBlock(first.rate, scheme="euler", name="second")
    return keras.Sequential([keras.Input((4,)), first, second])


@pytest.mark.parametrize(
    "change",
    [lambda net: refine(net, 2, steps_factor=1), lambda net: project(net, nodes=2)],
    ids=["refine", "project"],
)
def test_blocks_around_one_rate_still_are(twice, change):
    new = change(twice)
    np.testing.assert_allclose(new(X), twice(X), atol=1e-6)
    first, second = (new.get_layer(name) for name in ("first", "second"))
    assert first.rate is second.rate and second.scheme == "euler"
    assert len(new.trainable_variables) == len(twice.trainable_variables) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 2, "blocks": ["first"]}, "all blocks that share a rate.*'second'"),
        ({"factor": [2, 1]}, "expected one basis for 'first' and 'second'"),
    ],
)
def test_blocks_around_one_rate_are_refined_alike(twice, arguments, message):
    with pytest.raises(ValueError, match=message):
        refine(twice, **arguments)


def within_another_layer():
    block = ContinuousBlock(L.Dense(4, "tanh"), nodes=2, name="block")
    return keras.Sequential([keras.Input((5, 4)), L.TimeDistributed(block)])


@pytest.mark.parametrize(
    "change",
    [
        lambda net: manifest(net, scheme="euler", steps=1),
        lambda net: refine(net, 2),
        lambda net: project(net, nodes=1),
        to_plain,
    ],
    ids=["manifest", "refine", "project", "to_plain"],
)
def test_a_block_that_cannot_be_replaced_is_refused(change):
    with pytest.raises(ValueError, match="'block' within another layer"):
        change(within_another_layer())


def test_attention_that_reads_a_mask_is_made_plain_in_no_net_with_one():
    inputs = keras.Input((6, 4))
    unit = keras.Model(inputs, L.MultiHeadAttention(2, 2)(inputs, inputs))
    block = ContinuousBlock(unit, scheme="rk4", name="block")
    to_plain(keras.Sequential([keras.Input((6, 4)), block]))
    net = keras.Sequential([keras.Input((6, 4)), L.Masking(), block])
    with pytest.raises(ValueError, match="expected no mask in front of block 'block'"):
        to_plain(net)


@pytest.mark.parametrize(
    ("layer", "keeps"),
    [
        (lambda: L.Dense(4), True),
        (lambda: L.Conv1D(4, 3, padding="same"), False),
    ],
    ids=["dense", "conv"],
)
def test_units_that_lose_a_mask_make_no_block_that_keeps_it(layer, keeps):
    x = inputs = keras.Input((6, 4))
    x = L.Masking()(x)
    for _ in range(2):
        x = L.Add()([x, layer()(x)])
    model = keras.Model(inputs, L.GlobalAveragePooling1D()(x))
    if not keeps:
        with pytest.raises(ValueError, match="expected no mask in front of residual"):
            from_residual(model)
        return
    images = X[:12].reshape(2, 6, 4).copy()
    images[:, 4:] = 0
    np.testing.assert_allclose(from_residual(model)(images), model(images), atol=1e-6)


class Adds(L.Dense):
    def call(self, x):
        self.add_loss(ops.mean(x**2))
        return super().call(x)


def test_losses_of_layers_are_kept():
    model = keras.Sequential(
        [keras.Input((4,)), ContinuousBlock(Adds(4), scheme="euler")]
    )
    model(np.ones((2, 4), "float32"))
    assert [float(loss) for loss in model.losses] == [1.0]


@pytest.mark.parametrize("steps", [1, 2])
def test_regularized_activities_are_those_of_every_evaluation(steps):
    inputs = keras.Input((3, 4))
    attention = L.MultiHeadAttention(2, 2, activity_regularizer="l2")
    unit = keras.Model(inputs, attention(inputs, inputs))
    block = ContinuousBlock(unit, scheme="euler", steps=steps, horizon=steps)
    x = X[:6].reshape(2, 3, 4)
    y = block(x)
    expected, state = 0.0, x
    plain = keras.models.clone_model(unit)
    plain.set_weights([ops.convert_to_numpy(s.variable)[0] for s in block.series])
    for _ in range(steps):
        state = state + plain(state)
        expected += float(sum(plain.losses))
    np.testing.assert_allclose(y, state, atol=1e-6)
    np.testing.assert_allclose(float(sum(block.losses)), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="regularises its activity"):
        ContinuousBlock(unit, unroll=False)(x)


def test_a_causal_convolution_is_a_unit():
    x = X[:20].reshape(2, 10, 4)
    block = ContinuousBlock(L.Conv1D(4, 3, padding="causal"), scheme="euler")
    y = block(x)
    plain = L.Conv1D(4, 3, padding="causal")
    plain.build(x.shape)
    plain.set_weights([ops.convert_to_numpy(s.variable)[0] for s in block.series])
    np.testing.assert_allclose(y, x + plain(x), atol=1e-6)


@pytest.fixture
def policy():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def functional():
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(4, "tanh")(inputs) - inputs)


def test_a_functional_unit_computes_in_double_precision(policy):
    policy("float64")
    block = ContinuousBlock(functional(), nodes=2, scheme="midpoint")
    z = x = np.random.default_rng(0).normal(size=(3, 4))
    y = block(x)
    w, b = (np.array(s.variable) for s in block.series)
    for k in range(2):

        def rate(s, k=k):
            return np.tanh(s @ w[k] + b[k]) - s

        z = z + 0.5 * rate(z + 0.25 * rate(z))
    np.testing.assert_allclose(y, z, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_a_functional_unit_takes_the_states_of_a_mixed_policy(policy, name):
    policy(name)
    y = ContinuousBlock(functional(), nodes=2)(X)
    assert keras.backend.standardize_dtype(y.dtype) == name.removeprefix("mixed_")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_half_precision_learn(dtype):
    unit = keras.Sequential(
        [
            L.Conv2D(4, 3, padding="same", dtype=dtype),
            L.BatchNormalization(dtype=dtype),
        ]
    )
    block = ContinuousBlock(unit, dtype=dtype)
    y = block(X.reshape(2, 4, 4, 4), training=True)
    assert np.all(np.isfinite(ops.convert_to_numpy(ops.cast(y, "float32"))))


def test_units_with_other_large_constants_are_no_stage():
    """NumPy shows a few numbers of a large array only."""
    n, x = 1500, keras.Input((1500,))
    y = x
    for k in range(3):
        mask = np.zeros(n, "float32")
        mask[10 + k * 200 : 200 + k * 300] = 1
        y = y + L.Dense(n, "tanh", kernel_initializer="zeros")(y) * mask
    with pytest.raises(ValueError, match="residual units"):
        from_residual(keras.Model(x, y))


def test_a_norm_that_is_called_twice_is_recalibrated_on_both_calls():
    norm = L.BatchNormalization()
    block = ContinuousBlock(
        keras.Sequential([L.Dense(4), L.BatchNormalization()]), scheme="euler"
    )
    encoder = keras.Sequential([keras.Input((4,)), block, norm])
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], L.Concatenate()([encoder(a), encoder(b)]))
    low, high = X, X + 10
    recalibrate(model, [((low, high), None)] * 2)
    found = ops.convert_to_numpy(norm.moving_mean)
    ends = []
    for x in (low, high):
        ends.append(ops.convert_to_numpy(block(x, training=True)).mean(axis=0))
    np.testing.assert_allclose(found, np.mean(ends, axis=0), rtol=1e-4, atol=1e-4)
