"""Refinement leaves the field as it is, and carries the optimizer over."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf.basis import BASES
from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import UNITS, ContinuousNet
from cnet_tf.manifestation import manifest
from cnet_tf.refinement import project, refine
from cnet_tf.resnet import ResNet
from cnet_tf.tableaus import SCHEMES

IMAGE = (8, 8, 3)
SIZES = {"constant": 2, "hat": 3, "linear": 2, "legendre": 2}


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomize(net, seed=1):
    rng = np.random.default_rng(seed)
    for v in net.variables:
        value = rng.normal(size=v.shape, scale=0.3)
        v.assign(np.abs(value) + 0.5 if "variance" in v.name else value)
    return net


def image_net(basis="constant", unit="post", **arguments):
    arguments = {"nodes": SIZES[basis], "scheme": "midpoint", **arguments}
    net = ContinuousNet(3, (4, 6), strides=(1, 2), basis=basis, unit=unit, **arguments)
    net.build((None, *IMAGE))
    return randomize(net)


def small_image_net(basis="constant", nodes=1):
    net = ContinuousNet(3, (4,), nodes, basis=basis, strides=1, scheme="euler")
    net.build((None, *IMAGE))
    return randomize(net)


def classifier(**arguments):
    arguments = {"width": 4, "nodes": 2, "scheme": "midpoint", **arguments}
    net = ContinuousClassifier(3, **arguments)
    net.build((None, 2))
    return net


X = normal((8, 2))
LABEL = np.arange(8) % 3


def train_step(net, optimizer, x=X, label=LABEL):
    with tf.GradientTape() as tape:
        losses = keras.losses.sparse_categorical_crossentropy(
            label, net(x, training=True), from_logits=True
        )
        loss = tf.reduce_mean(losses)
    variables = net.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
    return float(loss)


def trained(optimizer, steps=3, **arguments):
    net = classifier(**arguments)
    optimizer.build(net.trainable_variables)
    for _ in range(steps):
        train_step(net, optimizer)
    return net, optimizer


def block_slots(net, slots):
    """The slots of the block's series: the kernels and biases of both dense layers."""
    return [
        slot.numpy()
        for v, slot in zip(net.trainable_variables, slots, strict=True)
        if any(v is s.variable for s in net.series)
    ]


# The field and the logits


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("unit", UNITS)
def test_refining_constants_leaves_logits_bit_equal(unit, factor):
    net = image_net(unit=unit)
    new = refine(net, factor, steps_factor=1)
    assert [b.rate.basis.size for b in new.blocks] == [2 * factor] * 2
    assert [b.steps for b in new.blocks] == [2, 2]
    x = normal((4, *IMAGE))
    np.testing.assert_array_equal(new(x), net(x))


@pytest.mark.parametrize("factor", [3, 5])
@pytest.mark.parametrize("steps", [2, 6])
def test_refining_constants_by_an_odd_factor(steps, factor):
    net = image_net(steps=steps)
    x = normal((4, *IMAGE))
    y = refine(net, factor, steps_factor=1)(x)
    np.testing.assert_allclose(y, net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("basis", ["hat", "linear", "legendre"])
def test_refining_another_basis_leaves_logits(basis):
    net = image_net(basis, steps=4)
    new = refine(net, 2, steps_factor=1)
    sizes = {"hat": 5, "linear": 4, "legendre": 4}
    assert [b.rate.basis.size for b in new.blocks] == [sizes[basis]] * 2
    x = normal((4, *IMAGE))
    for training in (False, True):
        np.testing.assert_allclose(
            new(x, training=training), net(x, training=training), rtol=1e-4, atol=1e-5
        )


def test_the_old_net_is_left_as_it_is():
    net = image_net()
    before = net.get_weights()
    new = refine(net)
    for v in new.variables:
        v.assign(v + 1.0)
    for old, now in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert [b.rate.basis.size for b in net.blocks] == [2, 2]
    assert not {id(v) for v in net.variables} & {id(v) for v in new.variables}


def test_factor_one_is_a_copy():
    net = image_net("hat")
    x = normal((4, *IMAGE))
    np.testing.assert_array_equal(refine(net, 1)(x), net(x))


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("scheme", ["euler", "heun2", "kutta3", "rk4"])
def test_refining_the_steps_costs_the_order_of_the_scheme(float64, scheme):
    """|h_N - h_2N| = O(N^-p): doubling N divides the difference by 2^p."""

    def state(net):
        x = X.astype("float64")
        for part in net.parts[:-1]:  # the head is float32
            x = part(x)
        return np.array(x)

    differences = []
    for steps in (4, 8):
        net = randomize(classifier(scheme=scheme, steps=steps, horizon=2))
        new = refine(net, 2)
        assert (new.blocks[0].steps, new.blocks[0].rate.basis.size) == (2 * steps, 4)
        differences.append(np.abs(state(new) - state(net)).max())
    assert differences[1] > 1e-12
    order = np.log2(differences[0] / differences[1])
    assert order > SCHEMES[scheme].order - 0.4


@pytest.mark.parametrize("unit", ["post", "pre"])
def test_projection_undoes_refinement(unit):
    net = image_net(unit=unit)
    back = project(refine(net, 2), nodes=2)
    assert back.get_config() == net.get_config()
    for a, b in zip(net.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-7)
    x = normal((4, *IMAGE))
    np.testing.assert_allclose(back(x), net(x), rtol=1e-5, atol=1e-5)


def test_projection_to_a_larger_basis_keeps_the_field():
    """Constants on two cells are also discontinuous lines on two cells."""
    net = image_net(steps=4)
    new = project(net, "linear", nodes=4, steps=4)
    x = normal((4, *IMAGE))
    np.testing.assert_allclose(new(x), net(x), rtol=1e-5, atol=1e-5)


def test_projection_is_the_best_approximation():
    """Constants 4 -> 2: the means of pairs; to one Legendre polynomial: the mean."""
    net = image_net(nodes=4)
    pairs = project(net, nodes=2)
    mean = project(net, "legendre", nodes=1)
    assert [b.steps for b in pairs.blocks] == [2, 2]
    for old, two, one in zip(
        net.blocks[0].series, pairs.blocks[0].series, mean.blocks[0].series, strict=True
    ):
        theta = old.variable.numpy()
        expected = theta.reshape(2, 2, *theta.shape[1:]).mean(axis=1)
        np.testing.assert_allclose(two.variable.numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            one.variable.numpy(), theta.mean(0, keepdims=True), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("target", [("constant", 3), ("hat", 4), ("linear", 6)])
@pytest.mark.parametrize("source", BASES)
def test_variances_stay_positive_under_every_projection(source, target):
    net = small_image_net(source, 4)
    for v in net.variables:
        if "variance" in v.name:  # what an undershoot would make negative
            v.assign(np.where(np.arange(v.shape[0]) % 2, 100.0, 1e-3)[:, None] + 0 * v)
    new = project(net, *target)
    legendre = project(net, "legendre", 3)
    for other in (new, legendre):
        for v in other.variables:
            assert "variance" not in v.name or v.numpy().min() >= 0.99e-3, v.path
        assert np.all(np.isfinite(other(normal((2, *IMAGE)))))


# The optimizer


def matrix(basis):
    """P of a refinement by two, by hand."""
    if basis == "constant":  # 2 -> 4
        return np.repeat(np.eye(2), 2, axis=0)
    return np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("basis", ["constant", "hat"])
def test_momentum_is_prolonged(basis, nesterov):
    sgd = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov, weight_decay=1e-4)
    net, optimizer = trained(sgd, basis=basis, nodes=SIZES[basis])
    new, twin = refine(net, 2, optimizer=optimizer)
    assert twin is not optimizer
    assert twin.get_config() == optimizer.get_config()
    old_slots = block_slots(net, optimizer.momentums)
    new_slots = block_slots(new, twin.momentums)
    assert len(old_slots) == len(new_slots) == 4
    for old, got in zip(old_slots, new_slots, strict=True):
        assert np.any(old)
        expected = np.tensordot(matrix(basis), old, axes=1)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    # Stem and head have no depth.
    for k in (0, 1, -2, -1):
        np.testing.assert_array_equal(
            optimizer.momentums[k].numpy(), twin.momentums[k].numpy()
        )
    assert int(twin.iterations) == int(optimizer.iterations) == 3
    assert float(twin.learning_rate) == float(optimizer.learning_rate)


def test_the_current_learning_rate_is_carried():
    net, optimizer = trained(keras.optimizers.SGD(0.1, momentum=0.9))
    optimizer.learning_rate.assign(0.003)
    _, twin = refine(net, optimizer=optimizer)
    np.testing.assert_allclose(float(twin.learning_rate), 0.003, rtol=1e-6)


def test_schedules_go_on():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01])
    net, optimizer = trained(keras.optimizers.SGD(schedule, momentum=0.9), steps=4)
    _, twin = refine(net, optimizer=optimizer)
    assert int(twin.iterations) == 4
    np.testing.assert_allclose(float(twin.learning_rate), 0.01, rtol=1e-6)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "plain_sgd": lambda: keras.optimizers.SGD(0.05),
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw_ema": lambda: keras.optimizers.AdamW(0.01, use_ema=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "lion": lambda: keras.optimizers.Lion(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_variable_has_its_slots_and_learns(name):
    """Keras raises nothing when a grown net is trained through the old slots."""
    net, optimizer = trained(OPTIMIZERS[name]())
    new, twin = refine(net, 2, optimizer=optimizer)
    slots = [
        value
        for key, value in vars(twin).items()
        if key not in ("_trainable_variables", "_variables")
        and isinstance(value, list)
        and value
        and all(isinstance(v, keras.Variable) for v in value)
    ]
    assert slots or name == "plain_sgd"
    for slot in slots:
        assert [tuple(s.shape) for s in slot] == [
            tuple(v.shape) for v in new.trainable_variables
        ]
    assert int(twin.iterations) == 3
    before = [v.numpy() for v in new.trainable_variables]
    train_step(new, twin)
    for v, old in zip(new.trainable_variables, before, strict=True):
        change = np.abs(v.numpy() - old)
        if any(v is s.variable for s in new.series):  # (K, ..): every cell moved
            assert np.all(change.reshape(change.shape[0], -1).max(axis=1) > 0), v.path
        assert np.any(change), v.path


def test_cells_part_ways_after_refinement():
    net, optimizer = trained(keras.optimizers.SGD(0.1, momentum=0.9))
    new, twin = refine(net, 2, optimizer=optimizer)
    for s in new.blocks[0].series:
        np.testing.assert_array_equal(s.variable[0], s.variable[1])
    train_step(new, twin)
    for s in new.blocks[0].series:
        assert np.any(s.variable[0] != s.variable[1])


def test_second_moments_stay_positive_under_projection():
    net, optimizer = trained(keras.optimizers.Adam(0.01), nodes=4)
    for v in optimizer._velocities:  # all the weight in the first cell undershoots
        if v.shape[0] == 4 and len(v.shape) > 1:
            v.assign(np.zeros(v.shape) + np.eye(4)[0].reshape(4, *[1] * (v.ndim - 1)))
    for basis, nodes in (("hat", 5), ("legendre", 4), ("linear", 4)):
        new, twin = project(net, basis, nodes, optimizer=optimizer)
        assert min(v.numpy().min() for v in twin._velocities) >= 0
        assert any(m.numpy().min() < 0 for m in twin._momentums)
        train_step(new, twin)
        assert all(np.all(np.isfinite(v.numpy())) for v in new.trainable_variables)


def test_loss_is_continuous_at_a_jump():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    net, optimizer = trained(optimizer, steps=15)
    losses = [train_step(net, optimizer) for _ in range(3)]

    def loss(net):
        return float(
            tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(
                    LABEL, net(X), from_logits=True
                )
            )
        )

    assert loss(refine(net, 2, steps_factor=1)) == loss(net)
    new, twin = refine(net, 2, optimizer=optimizer)
    assert abs(loss(new) - loss(net)) < 0.01 * loss(net)
    after = [train_step(new, twin) for _ in range(15)]
    assert abs(after[0] - losses[-1]) < 0.2 * losses[-1]
    assert after[-1] < losses[-1]


# Refusals


@pytest.mark.parametrize("change", [refine, project])
def test_refuses_fixed_depth_and_nets_not_built(change):
    net = ResNet(3, 1, widths=(4,), stem_width=4)
    net.build((None, *IMAGE))
    with pytest.raises(ValueError, match="net: expected one with continuous blocks"):
        change(net)
    with pytest.raises(ValueError, match="net: expected a built net"):
        change(ContinuousClassifier(3, width=4))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["weight", "statistic", "slot"])
def test_refuses_values_that_are_not_finite(where, bad):
    net = small_image_net()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    victim = {
        "weight": net.trainable_variables[3],
        "statistic": net.non_trainable_variables[0],
        "slot": optimizer.momentums[3],
    }[where]
    value = victim.numpy()
    value.flat[0] = bad
    victim.assign(value)
    with pytest.raises(ValueError, match="expected finite values. Received nan or inf"):
        refine(net, optimizer=optimizer)


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_refuses_factors(factor):
    with pytest.raises(ValueError, match="factor: expected an integer >= 1"):
        refine(classifier(), factor)


@pytest.mark.parametrize("factor", [0, 1.5])
def test_refuses_steps_factors(factor):
    with pytest.raises(ValueError, match="steps"):
        refine(classifier(nodes=1), 2, steps_factor=factor)


def test_refuses_unknown_bases_and_sizes():
    with pytest.raises(ValueError, match="basis: expected one of"):
        project(classifier(), "fourier")
    with pytest.raises(ValueError, match="nodes: basis 'hat' needs at least 2"):
        project(classifier(), "hat", nodes=1)


def test_refines_a_manifestation():
    twin = manifest(classifier(), "rk4", 3)
    new = refine(twin, 2)
    assert (new.blocks[0].scheme, new.blocks[0].steps) == ("rk4", 6)
