"""Runs the steps of a block as one loop: the graph of a single step, run N times.

Unrolled, every evaluation of the rate has its own part of the graph. That runs fastest,
but takes longer to build the more steps there are. Rolled, the steps share one body, in
which step n reads row n of a table. There is one table for every stage i and series,
made before the loop (or the series itself is read, if each row is one theta_k):

    theta_i[n] = sum_k R_i[n, k] theta_k,    R_i[n, k] = phi_k(t_ni)
"""

import copy
import math
from fractions import Fraction

import keras
import numpy as np
from keras import ops

from cnet_tf.kernels import mix, recompute, repeat
from cnet_tf.model_graph import is_graph, layers_of, pattern_of
from cnet_tf.runge_kutta import stage_times, step
from cnet_tf.series import ForwardPass, at_depth
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.tableaus import get_scheme


def integrate(block, rate, x, training):
    """Returns x(1) of a block, with its steps in a loop.

    Args:
        block: A `ContinuousBlock`.
        rate: Function of the state that reads its series at the depth in force.
        x: x(0).
        training: Whether norms that are not frozen update their statistics.
    """
    tableau, steps = get_scheme(block.scheme), block.steps
    h = Fraction(block.horizon) / steps
    norms = [
        layer
        for layer in layers_of(block.rate)
        if isinstance(layer, SeriesBatchNormalization)
        if training and layer.trainable
    ]
    rows = _Rows(tableau, steps, block.restriction)
    tables = _Tables(rows, block.series_read)
    shapes = [norm.moving_mean.variable for norm in norms]
    zeros = [(ops.zeros(v.shape, v.dtype), ops.zeros(v.shape, v.dtype)) for v in shapes]

    def body(n, carry, tables=tables):
        x, sums = carry
        moments = _Moments(norms, sums)

        def slope(stage, state):
            with at_depth(_Depth(rows, tables, moments, stage, n)):
                return rate(state)

        x = step(tableau, slope, x, range(tableau.stages), h)
        return x, moments.sums

    if block.recompute and training:
        x, sums = _recomputed(steps, body, (x, zeros), tables)
    else:
        x, sums = repeat(steps, body, (x, zeros))
    for norm, (means, variances) in zip(norms, sums, strict=True):
        total = sum(rows(norm.moving_mean.basis, i) for i in range(tableau.stages))
        norm.update_by_sums(total.sum(axis=0), means, variances)
    return x


def _recomputed(steps, body, start, tables):
    """`repeat(steps, body, start)`, in segments that the backward pass recomputes."""
    _, zeros = start

    def segment(first, count, carry):
        x, sums = carry

        def run(x, *values):
            read = tables.of(values)
            x, added = repeat(
                count, lambda i, nest: body(first + i, nest, read), (x, zeros)
            )
            return x, *keras.tree.flatten(added)

        x, *added = recompute(run, x, *tables.values)
        added = iter(added)  # In pairs, like the sums.
        return x, [(m + next(added), v + next(added)) for m, v in sums]

    length = segment_length(steps)
    whole, rest = divmod(steps, length)
    carry = repeat(whole, lambda i, carry: segment(i * length, length, carry), start)
    return segment(whole * length, rest, carry) if rest else carry


def segment_length(steps: int) -> int:
    """Returns ceil(sqrt N): about as many segments as there are steps within each."""
    return math.isqrt(steps - 1) + 1


def check(rate, argument="unroll: expected True"):
    """Refuses a rate whose evaluations have side effects other than batch moments.

    Args:
        rate: The rate of a block.
        argument: Start of the message.

    Raises:
        ValueError: a layer of the rate draws random numbers or regularises its
            activity.
    """
    for layer in layers_of(rate):
        if is_graph(layer) or not isinstance(layer, keras.layers.Layer):
            continue
        regularized = any(
            getattr(part, "activity_regularizer", None)
            or getattr(part, "_activity_regularizer", None)  # In attention layers.
            for part in layers_of(pattern_of(layer))
        )
        if _draws(layer) or regularized:
            raise ValueError(
                f"{argument}, as layer {layer.name!r} of the unit draws random numbers "
                "or regularises its activity."
            )


def _draws(layer) -> bool:
    """Tells if a layer draws random numbers."""
    parts = layers_of(pattern_of(layer))
    # Cells of recurrent layers have a generator, whether or not they drop anything.
    cells = [part for part in parts if hasattr(part, "recurrent_dropout")]
    idle = [cell for cell in cells if not (cell.dropout or cell.recurrent_dropout)]
    known = {id(v) for cell in idle for v in cell.variables}
    # Keras counts the states of random generators as variables, not as weights.
    known |= {id(v) for v in pattern_of(layer).weights}
    return any(id(v) not in known for v in pattern_of(layer).variables)


class _Rows:
    """The arrays R_i (N, K), one per basis and stage; made once for all series."""

    def __init__(self, tableau, steps, restriction):
        self._times = [stage_times(tableau, n, steps) for n in range(steps)]
        self._forward = ForwardPass(restriction)
        self._made = {}
        self.stages = tableau.stages

    def __call__(self, basis, stage) -> np.ndarray:
        key = basis.key, stage
        if key not in self._made:
            times = [steps[stage] for steps in self._times]
            rows = [self._forward.row(basis, time) for time in times]
            self._made[key] = np.array(rows, "float64")
        return self._made[key]


class _Tables:
    """The tables theta_i[n] of all series, made before the loop; equal ones once."""

    def __init__(self, rows, series):
        self._tables, self._keys, self._learning = {}, {}, []
        for one in series:
            theta = ops.convert_to_tensor(one.variable)
            for stage in range(rows.stages):
                r = rows(one.basis, stage)
                key = (id(one), r.tobytes())
                self._keys[id(one), stage] = key
                if key not in self._tables:
                    self._tables[key] = _table(r, theta)
                    self._learning += [key] * one.variable.trainable

    @property
    def values(self) -> list:
        """The tables of trainable series, without the places in them."""
        return [self._tables[key][0] for key in self._learning]

    def of(self, values):
        """Returns the same tables with other `values`."""
        twin = copy.copy(self)
        tables = zip(self._learning, values, strict=True)
        new = {key: (table, self._tables[key][1]) for key, table in tables}
        twin._tables = self._tables | new
        return twin

    def key(self, series, stage):
        return self._keys[id(series), stage]

    def at(self, key, n):
        table, places = self._tables[key]
        return ops.take(table, ops.take(places, n), axis=0)


def _table(r, theta):
    """Returns (table, the place of each step in it)."""
    # Not of Legendre polynomials at t = 1, where all are one.
    if np.all((r == 0) | (r == 1)) and np.all(r.sum(axis=1) == 1):
        return theta, ops.convert_to_tensor(r.argmax(axis=1), "int32")
    return mix(r, theta), ops.arange(len(r), dtype="int32")


class _Depth:
    """The depth of stage i of step n, where n is a tensor; see `series.Depth`."""

    def __init__(self, rows, tables, moments, stage, n):
        self.forward = moments
        self._rows, self._tables, self._stage, self._n = rows, tables, stage, n

    def row(self, basis):
        rows = ops.convert_to_tensor(self._rows(basis, self._stage))
        return ops.take(rows, self._n, axis=0)

    def __call__(self, series):
        key = self._tables.key(series, self._stage)
        read = self.forward.read
        if key not in read:
            read[key] = self._tables.at(key, self._n)
        return read[key]


class _Moments:
    """Sums of w_k m over evaluations: batch moments weighted by how much they count."""

    keeps_losses = False  # They would belong to the graph of the loop.

    def __init__(self, norms, sums):
        self.read = {}
        self.sums = list(sums)
        self._places = {id(norm): i for i, norm in enumerate(norms)}

    def observe(self, norm, row, *moments):
        i = self._places[id(norm)]
        self.sums[i] = tuple(
            total + ops.outer(ops.cast(row, total.dtype), ops.cast(m, total.dtype))
            for total, m in zip(self.sums[i], moments, strict=True)
        )
