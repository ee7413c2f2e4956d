"""A new optimizer has the settings of the old one, also those that no config holds."""

import keras
import numpy as np
import pytest
from optimizer_zoo import (
    RATE,
    REPEAT,
    ZOO,
    K,
    carried,
    gradients,
    mapped,
    trained,
    update,
    values,
    variables,
)

from cnet_tf.optimizer_twin import parts


@pytest.mark.parametrize("name", ZOO)
def test_class_settings_and_counters_are_kept(name):
    optimizer = ZOO[name]()
    _, twin = carried(optimizer, trained(optimizer), REPEAT)
    assert twin is not optimizer
    assert type(twin) is type(optimizer)
    assert twin.get_config() == optimizer.get_config()
    assert int(twin.iterations) == int(optimizer.iterations) == 5
    old, new = ({id(v) for v in o.variables} for o in (optimizer, twin))
    assert len(old) == len(new) and not old & new


@pytest.mark.parametrize("name", ["SGD momentum", "Adam", "LossScaleOptimizer"])
def test_a_rate_that_was_assigned_is_kept(name):
    optimizer = ZOO[name]()
    old = trained(optimizer)
    optimizer.learning_rate.assign(0.1234)
    _, twin = carried(optimizer, old, REPEAT)
    assert float(twin.learning_rate) == float(optimizer.learning_rate)


class Halved(keras.optimizers.schedules.LearningRateSchedule):
    """Not registered with Keras: no config could bring it back."""

    def __call__(self, step):
        return 1.0 / (1.0 + keras.ops.cast(step, "float32"))

    def get_config(self):
        return {}


@pytest.mark.parametrize("scaled", [False, True])
def test_schedules_are_kept_as_objects(scaled):
    schedule = Halved()
    optimizer = K.Adam(schedule)
    if scaled:
        optimizer = K.LossScaleOptimizer(optimizer)
    _, twin = carried(optimizer, trained(optimizer), REPEAT)
    assert parts(twin)[-1]._learning_rate is schedule
    assert float(twin.learning_rate) == float(np.float32(1 / 6))


def test_a_schedule_that_was_assigned_is_kept():
    optimizer = K.SGD(RATE, momentum=0.9)
    old = trained(optimizer)
    optimizer.learning_rate = Halved()
    _, twin = carried(optimizer, old, REPEAT)
    assert float(twin.learning_rate) == float(np.float32(1 / 6))


@pytest.mark.parametrize("build", ["AdamW", "Muon", "LossScaleOptimizer"])
def test_what_is_not_decayed_is_not_decayed_after_it(build):
    """Gradients of zero: only the decay moves weights, and not those excluded."""
    optimizer = ZOO[build](weight_decay=0.5)
    old = variables(2)
    # Before it is built, so that its answers are not remembered.
    parts(optimizer)[-1].exclude_from_weight_decay([old[0], old[4]], ["plain3"])
    optimizer.build(old)
    new, twin = carried(optimizer, old, REPEAT)
    zeros = [0 * v for v in values(new)]
    moved = [bool(np.any(step)) for step in update(twin, new, zeros)]
    assert moved == [False, True, True, False, False]


def test_nothing_is_excluded_that_was_not():
    optimizer = ZOO["AdamW"](weight_decay=0.5)
    new, twin = carried(optimizer, trained(optimizer, updates=0), REPEAT)
    zeros = [0 * v for v in values(new)]
    assert all(np.any(step) for step in update(twin, new, zeros))


def test_an_optimizer_of_several_variables_stays_one():
    """Two patterns, one Adam: its slots and its count are shared."""
    adam = K.Adam(RATE)
    table = {"stacked0": adam, "plain.*": adam}
    optimizer = K.MultiOptimizer(K.OptimizerMap(K.SGD(RATE, momentum=0.9), table))
    old = trained(optimizer)
    new, twin = carried(optimizer, old, REPEAT)
    assert [type(o) for o in twin.optimizers] == [K.Adam, K.SGD]
    assert [int(o.iterations) for o in twin.optimizers] == [5, 5]
    g = gradients(old, 5)
    steps = mapped(REPEAT, update(optimizer, old, g))
    for a, b in zip(update(twin, new, mapped(REPEAT, g)), steps, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_refuses_functions_that_choose_optimizers():
    adam = K.Adam(RATE)
    optimizer = K.MultiOptimizer(lambda variable: adam)
    old = trained(optimizer)
    with pytest.raises(
        ValueError, match="optimizer: expected a MultiOptimizer with an"
    ):
        carried(optimizer, old, REPEAT)
