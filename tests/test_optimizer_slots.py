"""Optimizers go on where they stand: P times an update is the update after P."""

import keras
import numpy as np
import pytest
from optimizer_zoo import (
    RATE,
    REPEAT,
    STACKED,
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

from cnet_tf.basis import get_basis
from cnet_tf.optimizer_slots import carry_over, slots
from cnet_tf.prolongation import projection

# From four cells to bases in which their functions do not lie: entries of both signs.
PROJECTIONS = {
    name: np.array(
        projection(get_basis("constant", 4), get_basis(*name)), dtype="float64"
    )
    for name in [("hat", 4), ("linear", 6), ("legendre", 3)]
}
# A gradient that lives in two of four cells undershoots zero between them.
UNEVEN = [1.0, 1e-3, 1.0, 1e-3]


def both_updated(optimizer, matrix, **arguments):
    """P times one more update of the old variables, and the update of the new ones."""
    old = trained(optimizer, matrix.shape[1], **arguments)
    new, twin = carried(optimizer, old, matrix)
    g = gradients(old, 99, arguments.get("sizes"))
    old_step, new_step = update(optimizer, old, g), update(twin, new, mapped(matrix, g))
    return mapped(matrix, old_step), new_step, (old, optimizer), (new, twin)


def assert_close(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_repeated_cells_move_as_before(name):
    expected, got, (old, optimizer), (new, twin) = both_updated(ZOO[name](), REPEAT)
    assert_close(got, expected)
    assert_close(values(new), mapped(REPEAT, values(old)))
    # And on: what was not used in one update is as it should be too.
    for seed in (7, 8, 9):
        g = gradients(old, seed)
        expected = mapped(REPEAT, update(optimizer, old, g))
        assert_close(update(twin, new, mapped(REPEAT, g)), expected)


SETTINGS = {
    "accumulated": {"gradient_accumulation_steps": 2},
    "clipped values": {"clipvalue": 0.5},
    "averaged": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    "decayed": {"weight_decay": 0.1},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["SGD momentum", "Adam", "LossScaleOptimizer"])
def test_settings_of_all_optimizers_go_on_too(name, settings):
    """An odd number of updates: gradients wait, and the average overwrites next."""
    optimizer = ZOO[name](**SETTINGS[settings])
    expected, got, *_ = both_updated(optimizer, REPEAT)
    assert_close(got, expected)


def test_clipped_norms_are_larger_after_refinement():
    """|P g| = sqrt(2) |g|, so that a clipped step is P times the old one / sqrt(2)."""
    expected, got, *_ = both_updated(K.SGD(RATE, clipnorm=0.1), REPEAT)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        np.testing.assert_allclose(a, b / (2**0.5 if i < STACKED else 1), atol=1e-6)


def test_a_clipped_global_norm_is_that_of_the_new_gradients():
    old = variables(2)
    g = gradients(old, 99)
    norm = [sum(np.sum(a**2) for a in some) ** 0.5 for some in (g, mapped(REPEAT, g))]
    expected, got, *_ = both_updated(K.SGD(RATE, global_clipnorm=0.1), REPEAT)
    assert_close(got, [b * norm[0] / norm[1] for b in expected])


def test_muon_orthogonalises_biases_of_all_nodes_together():
    """P = sqrt(2) Q: the orthogonal factor of P m is Q U V', and Muon then multiplies
    by the root of the longer side: both of (2, 4) and of (4, 4) are 4."""
    muon = K.Muon(RATE, weight_decay=None, adam_weight_decay=None)
    expected, got, *_ = both_updated(muon, REPEAT)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        np.testing.assert_allclose(a, b / (2**0.5 if i == 1 else 1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("basis", PROJECTIONS)
@pytest.mark.parametrize("name", ZOO)
def test_the_first_update_after_a_projection_is_of_the_usual_size(name, basis):
    matrix = PROJECTIONS[basis]
    optimizer = ZOO[name]()
    _, got, (old, _), (_, twin) = both_updated(optimizer, matrix, sizes=UNEVEN)
    usual = update(optimizer, old, gradients(old, 100, UNEVEN))
    growth = np.abs(matrix).sum(axis=1).max()
    for step, other in zip(got, usual, strict=True):
        assert np.all(np.isfinite(step))
        assert 0.02 < np.abs(step).max() / np.abs(other).max() < 3 * growth
    assert all(
        np.all(v >= 0)
        for rule in ("square", "magnitude", "row", "column")
        for v in values(slots(twin, rule))
    )


@pytest.mark.slow
@pytest.mark.parametrize("basis", PROJECTIONS)
@pytest.mark.parametrize("name", ["Adam", "Adam amsgrad", "AdamW", "Nadam", "Adamax"])
def test_adam_moves_by_a_learning_rate_after_a_projection(name, basis):
    """Second moments clipped at zero where the momentum is not: many of them."""
    optimizer = ZOO[name]()
    _, got, *_ = both_updated(optimizer, PROJECTIONS[basis], updates=30, sizes=UNEVEN)
    assert max(np.abs(step).max() for step in got) < 1.1 * RATE


@pytest.mark.parametrize("inner", ["SGD momentum", "Lion", "Adam"])
def test_the_momenta_within_a_loss_scale_are_projected(inner):
    matrix = PROJECTIONS["legendre", 3]
    optimizer = K.LossScaleOptimizer(
        ZOO[inner](), initial_scale=8.0, dynamic_growth_steps=3
    )
    old = trained(optimizer, 4)
    _, twin = carried(optimizer, old, matrix)
    momenta = values(slots(optimizer, "momentum"))
    assert_close(values(slots(twin, "momentum")), mapped(matrix, momenta))
    assert float(twin.dynamic_scale) == 16.0
    assert int(twin.step_counter) == 2
    assert int(twin.iterations) == 5


def test_an_average_of_the_weights_is_projected_with_them():
    matrix = PROJECTIONS["hat", 4]
    optimizer = K.SGD(RATE, use_ema=True)
    new, twin = carried(optimizer, trained(optimizer, 4), matrix)
    average = mapped(matrix, values(slots(optimizer)))
    assert_close(values(slots(twin)), average)
    twin.finalize_variable_values(new)
    assert_close(values(new), average)


def test_slots_that_a_reset_sets_to_zero_are_momenta():
    optimizer = K.Adam(amsgrad=True, use_ema=True)
    old = trained(optimizer)
    assert len(slots(optimizer)) == 4 * len(old)
    momenta = slots(optimizer, "momentum")
    assert [v.path.rsplit("_")[-1] for v in momenta] == ["momentum"] * len(old)


def test_the_old_optimizer_is_left_as_it_is():
    optimizer = ZOO["LossScaleOptimizer"]()
    old = trained(optimizer)
    before = values(optimizer.variables)
    new, twin = carried(optimizer, old, REPEAT)
    update(twin, new, gradients(new, 5))
    for a, b in zip(values(optimizer.variables), before, strict=True):
        np.testing.assert_array_equal(a, b)


# Refusals


def refuses(optimizer, match, old=None, new=None, matrices=None, error=ValueError):
    old = variables(2) if old is None else old
    new = variables(4) if new is None else new
    matrices = [REPEAT] * STACKED + [None] * 2 if matrices is None else matrices
    with pytest.raises(error, match=match) as caught:
        carry_over(optimizer, old, new, matrices)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_built_optimizer_of_the_variables():
    refuses("sgd", "optimizer: expected a keras.optimizers.Optimizer .* Received 'sgd'")
    refuses(K.SGD(), "optimizer: expected .* Received a SGD that is not built: call")
    adam = K.Adam()
    adam.build(variables(2))
    refuses(adam, "optimizer: expected .* Received a Adam built on others: build it on")


class Own(keras.optimizers.Optimizer):
    pass


class Restless(K.SGD):
    def build(self, variables):
        super().build(variables)
        self.past = self.add_optimizer_variables(variables, "past")


class Calm(K.SGD):
    """A subclass that keeps what SGD keeps."""


class Idle(K.SGD):
    """One that does not start anew."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.made = []

    @classmethod
    def from_config(cls, config):
        new = super().from_config(config)
        new.build(variables(2))
        return new


def test_refuses_unknown_classes_and_slots():
    old = variables(2)
    for optimizer, match in [
        (Own(0.1), "optimizer: expected one of .*SGD.* Received a Own"),
        (
            Restless(0.1),
            "optimizer: expected only slots that `SLOTS` lists .*a Restless.*_past too",
        ),
    ]:
        optimizer.build(old)
        refuses(optimizer, match, old)
        with pytest.raises(ValueError, match=match):
            slots(optimizer)


def test_carries_subclasses_without_slots_of_their_own():
    expected, got, _, (_, twin) = both_updated(Calm(RATE, momentum=0.9), REPEAT)
    assert type(twin) is Calm
    assert_close(got, expected)


def test_refuses_a_new_optimizer_that_holds_other_variables():
    optimizer = Idle(0.1)
    old = variables(2)
    optimizer.build(old)
    match = "optimizer: expected the new Idle to hold the 5 new variables"
    refuses(optimizer, match, old, error=RuntimeError)


def test_refuses_a_variable_that_has_lost_a_slot():
    """Muon takes matrices by name: renamed, one has no second moment any more."""
    optimizer = ZOO["Muon"]()
    old = trained(optimizer)
    new = [keras.Variable(v, name="other") for v in variables(4)]
    match = "optimizer: expected the slots .*adam_velocities.* for stacked1. Received"
    refuses(optimizer, match, old, new, error=RuntimeError)


def test_refuses_matrices_that_do_not_fit():
    optimizer = K.SGD(RATE)
    old, new = variables(2), variables(4)
    optimizer.build(old)
    refuses(optimizer, "expected as many as old_variables, 5", old, new[:-1])
    for bad, received in [(None, "None"), (np.eye(4), r"shape \(4, 4\)")]:
        match = rf"matrices\[1\]: expected a map .*\(2, 4\) to \(4, 4\).* {received}"
        refuses(optimizer, match, old, new, [REPEAT, bad, REPEAT, None, None])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_slots_that_are_not_finite(bad):
    optimizer = K.Adam(RATE)
    old = trained(optimizer)
    slots(optimizer, "square")[-1].assign([0, bad])
    refuses(optimizer, "plain4_velocity: expected finite values. Received nan", old)
