"""Variances of batch norms stay positive, whatever goes from basis to basis."""

import keras
import numpy as np
import pytest

from cnet_tf import ContinuousBlock, project, refine
from cnet_tf.basis import BASES, get_basis
from cnet_tf.prolongation import projection

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
settings = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def bases(draw):
    kind = draw(st.sampled_from(sorted(BASES)))
    size = draw(st.integers(1, 9))
    return get_basis(kind, {"hat": size + 1, "linear": 2 * size}.get(kind, size))


@settings
@hypothesis.given(bases(), bases())
def test_statistics_are_averaged_with_positive_weights(old, new):
    """Rows of the matrix for moving statistics are >= 0 and add up to one: exactly."""
    cells = [get_basis("constant", basis.cells) for basis in (old, new)]
    for row in projection(*cells):
        assert min(row) >= 0 and sum(row) == 1


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(bases(), bases(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_variances_of_a_net_stay_between_the_least_and_the_most(old, new, factor, seed):
    norm = keras.Sequential([keras.layers.BatchNormalization()])
    kind, nodes = old.key
    block = ContinuousBlock(norm, nodes, basis=kind)
    net = keras.Sequential([keras.Input((2,)), block])

    def variances(net):
        return np.array(net.layers[0].rate.layers[0].moving_variance.variable)

    series = net.layers[0].rate.layers[0].moving_variance
    # From tiny to huge, as a least-squares fit overshoots most at such jumps.
    values = 10.0 ** np.random.default_rng(seed).uniform(-6, 6, series.variable.shape)
    series.variable.assign(values)
    before = variances(net)
    kind, nodes = new.key
    for after in (refine(net, factor), project(net, kind, nodes)):
        found = variances(after)
        assert np.all(found > 0)
        assert np.all(found >= before.min(axis=0) * (1 - 1e-6))
        assert np.all(found <= before.max(axis=0) * (1 + 1e-6))
