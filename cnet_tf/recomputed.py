"""Recomputes steps in the backward pass: memory O(sqrt N) for the gradient.

Backpropagation needs the intermediate results of every step. Here only the states at
the ends of segments of ceil(sqrt N) steps are kept; the backward pass goes through the
segments from last to first and recomputes their steps. The gradient is exactly that of
the graph that was run. Integrating an adjoint equation backwards saves more memory, but
gives a different gradient (`tests/test_adjoint.py`).

Reference: Chen, Xu, Zhang, Guestrin 2016, arXiv 1604.06174.
"""

from fractions import Fraction

from cnet_tf.kernels import recompute
from cnet_tf.rolled import segment_length
from cnet_tf.runge_kutta import stage_times, step
from cnet_tf.series import ForwardPass, at_depth
from cnet_tf.tableaus import get_scheme


def integrate(block, rate, x):
    """Returns x(1) of a block in training, with its steps unrolled.

    Args:
        block: A `ContinuousBlock`.
        rate: Function of the state that reads its series at the depth in force.
        x: x(0).
    """
    forward, length = ForwardPass(block.restriction), segment_length(block.steps)
    for start in range(0, block.steps, length):
        numbers = range(start, min(start + length, block.steps))
        x = _segment(block, forward, rate, x, numbers)
    forward.finish()
    return x


def _segment(block, forward, rate, x, numbers):
    """Returns the state after the steps `numbers`."""
    tableau = get_scheme(block.scheme)
    h = Fraction(block.horizon) / block.steps
    times = [stage_times(tableau, n, block.steps) for n in numbers]
    # All trainable values are arguments, as nothing else gets a gradient. Statistics
    # are not: they move before the segment is recomputed, in place on PyTorch.
    values = {
        (id(series), row): forward.value(series, row)
        for stages in times
        for time in stages
        for series in block.series_read
        if series.variable.trainable
        for row in [forward.row(series.basis, time)]
    }
    read = []

    def run(x, *tensors):
        replay = _Replay(forward, dict(zip(values, tensors, strict=True)))

        def slope(time, state):
            with at_depth(replay.at(time)):
                return rate(state)

        for stages in times:
            x = step(tableau, slope, x, stages, h)
        read[:] = [key for key, _ in replay.moments]
        return x, *(moment for _, pair in replay.moments for moment in pair)

    x, *moments = recompute(run, x, *values.values())
    # Observed once: the moments of the recomputation are not passed on.
    for i, (norm, row) in enumerate(read):
        forward.observe(norm, row, *moments[2 * i : 2 * i + 2])
    return x


class _Replay(ForwardPass):
    """A pass over given values of theta that records the moments it observes."""

    keeps_losses = False  # They would get no gradient.

    def __init__(self, forward, values):
        super().__init__(forward.restriction)
        self._forward, self._given = forward, values
        self.moments = []

    def value(self, series, row):
        key = id(series), row
        if key in self._given:
            return self._given[key]
        return self._forward.value(series, row)

    def observe(self, norm, row, mean, variance):
        self.moments.append(((norm, row), (mean, variance)))
