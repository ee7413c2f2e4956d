"""Growth of depth under Keras' own `fit`."""

import keras
import numpy as np
import pytest

from cnet_tf import ContinuousBlock, fit_growing, refine

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = np.tanh(X[:, :1] * X[:, 1:2])


def model(**compiled):
    keras.utils.set_random_seed(0)
    unit = keras.Sequential([L.Dense(8, "tanh"), L.Dense(4)])
    net = keras.Sequential(
        [keras.Input((4,)), ContinuousBlock(unit, name="block"), L.Dense(1)]
    )
    rate = keras.optimizers.schedules.CosineDecay(0.1, 40)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    net.compile(
        **{"optimizer": optimizer, "loss": "mse", "metrics": ["mae"]} | compiled
    )
    return net


SETTINGS = {"batch_size": 16, "shuffle": False, "verbose": 0}


class Counting(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.told, self.nodes = [], []

    def on_train_begin(self, logs=None):
        self.told.append("begin")

    def on_train_end(self, logs=None):
        self.told.append("end")

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(epoch)
        self.nodes.append(self.model.get_layer("block").nodes)


def test_it_is_fit_and_refine_by_hand():
    by_hand = model()
    by_hand.fit(X, Y, epochs=2, **SETTINGS)
    deep, optimizer = refine(by_hand, 2, optimizer=by_hand.optimizer)
    deep.compile(optimizer, "mse", metrics=["mae"])
    deep.fit(X, Y, initial_epoch=2, epochs=4, **SETTINGS)
    grown, history = fit_growing(model(), X, Y, grow={2: 2}, epochs=4, **SETTINGS)
    for a, b in zip(deep.get_weights(), grown.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(grown.optimizer.iterations) == 16
    assert history.epoch == [0, 1, 2, 3]
    assert {k: len(v) for k, v in history.history.items()} == {"loss": 4, "mae": 4}


@pytest.mark.slow
def test_callbacks_see_one_training_of_several_depths():
    seen = Counting()
    grown, history = fit_growing(
        model(),
        X,
        Y,
        grow={1: 2, 3: 3},
        epochs=4,
        callbacks=[seen],
        validation_data=(X, Y),
        **SETTINGS,
    )
    assert seen.told == ["begin", 0, 1, 2, 3, "end"]
    assert seen.nodes == [1, 2, 2, 6]
    assert (grown.get_layer("block").nodes, grown.get_layer("block").steps) == (6, 6)
    assert len(history.history["val_loss"]) == 4
    assert np.isfinite(grown.evaluate(X, Y, verbose=0)).all()


def test_a_callback_that_stops_stops_for_good():
    stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9)
    _, history = fit_growing(
        model(), X, Y, grow={2: 2, 3: 2}, epochs=9, callbacks=[stop], **SETTINGS
    )
    assert history.epoch == [0, 1]


@pytest.mark.parametrize(
    ("make", "grow", "message"),
    [
        (model, {4: 2}, r"grow: expected epochs in 0 .. 3. Received \[4\]"),
        (
            lambda: keras.Sequential(
                [keras.Input((4,)), ContinuousBlock(L.Dense(4))], name="raw"
            ),
            {1: 2},
            "model: expected a compiled model. Received 'raw'",
        ),
        (
            lambda: keras.Sequential([keras.Input((4,)), L.Dense(4)], name="flat"),
            {1: 2},
            "model: expected one with continuous blocks",
        ),
    ],
)
def test_refusals(make, grow, message):
    with pytest.raises(ValueError, match=message):
        fit_growing(make(), X, Y, grow=grow, epochs=4)
