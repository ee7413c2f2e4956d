"""Batch norms of the limit: the manifestation's own, whatever the net has."""

import numpy as np
import pytest

from cnet_tf import ContinuousNet, ResNet, manifest, recalibrated
from cnet_tf.observed_order import observe, wrong_answers
from cnet_tf.recalibrated_limit import as_continuous, limit_errors
from cnet_tf.surgery import normalizations

SHAPE = (6, 6, 2)
FACTORS = (1, 2)


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype("float32")


def labels_of(net, x):
    """Answers of a net: labels that not all are right in another form of it."""
    return np.argmax(net(x, training=False), axis=-1)


def observed(net, labels=True):
    x = images(64)
    batches = [(part, labels_of(net, part) if labels else None) for part in (x[:40], x)]
    return batches, observe(net, batches, ("midpoint",), FACTORS)[-1]


def continuous_net():
    settings = {"widths": (4,), "strides": (1,), "nodes": 2, "scheme": "euler"}
    return ContinuousNet(3, **settings, input_shape=SHAPE)


def residual_net():
    return ResNet(3, 3, (4,), stem_width=4, input_shape=SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("make", [continuous_net, residual_net])
@pytest.mark.parametrize("labels", [True, False])
def test_errors_are_those_of_the_finest_form_recalibrated(make, labels):
    model = make()
    net, data = as_continuous(model), [images(32, seed=1), images(32, seed=2)]
    batches, whole = observed(model, labels)
    found = limit_errors(net, whole, batches, data)
    assert whole.finest == ("midpoint", 4)
    steps = 4 * (2 if make is continuous_net else 3)
    twin = recalibrated(manifest(net, "midpoint", steps), data)
    expected = [
        wrong_answers([twin(x, training=False)], labels_of(model, x))
        for x, _ in batches
    ]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert found.shape == whole.limit.shape


@pytest.mark.slow
def test_statistics_of_the_net_do_not_matter():
    """They do in the limit as it is: there answers get worse by them alone."""
    net, data = continuous_net(), [images(64, seed=1)]
    batches, whole = observed(net)
    before = limit_errors(net, whole, batches, data)
    for norm in normalizations(net):
        variable = norm.moving_mean.variable
        shift = np.random.default_rng(3).normal(size=variable.shape)
        variable.assign(variable + 3 * shift)
    spoiled = observe(net, batches, ("midpoint",), FACTORS)[-1]
    assert spoiled.limit.mean() > whole.limit.mean() + 0.1
    np.testing.assert_array_equal(before, limit_errors(net, spoiled, batches, data))


def test_the_net_is_left_alone():
    net = continuous_net()
    values = [np.array(v.numpy()) for v in net.variables]
    batches, whole = observed(net)
    limit_errors(net, whole, batches, [images(16)])
    for old, variable in zip(values, net.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_projected_states_are_none_of_a_block():
    with pytest.raises(ValueError, match="^expected sums without an activation after"):
        as_continuous(ResNet(3, 2, (4,), "he", stem_width=4, input_shape=SHAPE))
