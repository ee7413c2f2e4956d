"""Parameter series theta(t) = sum_k phi_k(t) theta_k, and how a pass reads them.

A series is one variable of shape (K, *shape). A forward pass unstacks it once, however
many stages read it. The gradient of one unstack is one stack, whereas the gradients of
K slices would each be as large as the whole variable, which is quadratic in K.

The depth t at which layers read their series is a context, like the name scopes and
dtype scopes of Keras. A block sets it around each evaluation of its rate, so that any
model of series layers can be a rate. Outside of blocks t = 0.
"""

import contextlib
import contextvars
from fractions import Fraction

import keras
import numpy as np
from keras import ops

from cnet_tf.basis import Basis, get_basis
from cnet_tf.prolongation import unity
from cnet_tf.runge_kutta import StageTime

# How theta is read when a block has fewer steps than its basis has cells.
RESTRICTIONS = ("average", "quadrature", "point")


class ParameterSeries:
    """theta(t) = sum_k phi_k(t) theta_k.

    Attributes:
        variable: The `keras.Variable` of shape (K, *shape).
        basis: The `Basis` of the phi_k.
    """

    def __init__(self, variable, basis: Basis):
        self.variable = variable
        self.basis = basis


class SeriesLayer(keras.layers.Layer):
    """A layer whose weights are parameter series, read at a depth t.

    Subclasses make their weights with `add_series` in `build` and read them in `call`:

        with depth_in_force() as depth:
            kernel = depth(self.kernel)

    Args:
        basis: Kind of the basis, a key of `BASES`. Default `"constant"`.
        nodes: K >= 1, the number of basis functions. Default 1.

    Raises:
        ValueError: unknown basis, or K is not a size of that basis.
    """

    def __init__(self, basis="constant", nodes=1, **kwargs):
        super().__init__(**kwargs)
        self.basis = get_basis(basis, nodes)
        self.series = []

    def add_series(
        self, name, shape, initializer, basis=None, trainable=True, **kwargs
    ):
        """Makes a series of K weights of `shape`; `initializer` fills (K, *shape)."""
        basis = basis or self.basis
        series = ParameterSeries(
            self.add_weight(
                name=name,
                shape=(basis.size, *shape),
                initializer=initializer,
                trainable=trainable,
                **kwargs,
            ),
            basis,
        )
        self._hold(series)
        return series

    @property
    def series_read(self) -> list:
        """The series that its call reads."""
        return self.series

    def adopt(self, series):
        """Adopts series of another layer; both layers then share the variables."""
        for one in series:
            self._hold(one)

    def _hold(self, series):
        # Keras and TensorFlow's checkpoints find variables that are attributes.
        setattr(self, f"_series_{len(self.series)}", series.variable)
        self.series.append(series)

    def get_config(self):
        kind, nodes = self.basis.key
        return {**super().get_config(), "basis": kind, "nodes": nodes}


def initial_series(draws, basis: Basis, dtype):
    """Returns the initial coefficients (K, *shape), from K draws of one weight.

    Each theta_k is a separate draw. If all draws are equal (zeros, ones), the series is
    the constant function of that value, in any basis.

    Args:
        draws: K tensors of one shape; symbolic ones where Keras builds subclassed
            models.
        basis: Basis of the series.
        dtype: Dtype of the result.
    """
    draws = ops.cast(ops.stack(draws), dtype)
    rows = np.array(unity(basis), "float64").reshape(-1, *[1] * (len(draws.shape) - 1))
    constant = ops.cast(ops.convert_to_tensor(rows), dtype) * draws[:1]
    return ops.where(ops.all(draws == draws[:1]), constant, draws)


class ForwardPass:
    """The series of one block during one forward pass: unstacked once, read often.

    Args:
        restriction: How theta is read when there are fewer steps than cells.
            `"average"` reads its average over the step (the exact L2 restriction, so
            that no cell is skipped). `"quadrature"` reads its average over the stage's
            share of the step (`ButcherTableau.shares`), or over the whole step if the
            scheme has no shares. `"point"` reads theta at the stage time, as all do
            with enough steps.

    Attributes:
        keeps_losses: Whether losses that layers add in the pass reach the optimizer.
    """

    keeps_losses = True

    def __init__(self, restriction="average"):
        self.restriction = restriction
        self._slices = {}
        self._values = {}
        self._observed = {}

    def at(self, time: StageTime) -> "Depth":
        return Depth(self, time)

    def reading(self, rate):
        """Returns f(t, x) for a rate of x, whose series are read at t."""

        def slope(time, x):
            with at_depth(self.at(time)):
                return rate(x)

        return slope

    def row(self, basis: Basis, time: StageTime):
        """Returns the K exact coefficients phi_k of theta for the stage at `time`."""
        if self.restriction == "point" or time.steps >= basis.cells:
            return basis.weights(time, time.side)
        share = time.share if self.restriction == "quadrature" else None
        start, stop = share or (0, 1)
        if start == stop:
            return basis.weights(time, time.side)
        return basis.average(
            (time.step + Fraction(start)) / time.steps,
            (time.step + Fraction(stop)) / time.steps,
        )

    def value(self, series: ParameterSeries, row):
        """Returns sum_k row_k theta_k without zero terms; one-hot rows are slices."""
        key = (id(series), row)
        if key not in self._values:
            if id(series) not in self._slices:
                # Read within the layer's own scope, so that autocast applies.
                self._slices[id(series)] = ops.unstack(
                    ops.convert_to_tensor(series.variable), series.basis.size
                )
            self._values[key] = combine(row, self._slices[id(series)])
        return self._values[key]

    def observe(self, norm, row, mean, variance):
        """Keeps the batch moments of one evaluation until `finish` is called."""
        rows, means, variances = self._observed.setdefault(norm, ([], [], []))
        rows.append(row)
        means.append(mean)
        variances.append(variance)

    def finish(self):
        """Updates the moving statistics once, from all evaluations of the pass."""
        for norm, (rows, means, variances) in self._observed.items():
            norm.update(rows, means, variances)
        self._observed.clear()


class Depth:
    """One depth t of a forward pass: `depth(series)` is theta(t)."""

    def __init__(self, forward: ForwardPass, time: StageTime):
        self.forward = forward
        self.time = time

    def row(self, basis):
        return self.forward.row(basis, self.time)

    def __call__(self, series: ParameterSeries):
        return self.forward.value(series, self.row(series.basis))


def surface() -> Depth:
    """Returns the depth t = 0, at which layers outside of any block are read."""
    return ForwardPass("point").at(StageTime(0, 0, 1))


_depth = contextvars.ContextVar("depth", default=None)


@contextlib.contextmanager
def at_depth(depth: Depth):
    """Context in which series are read at this depth."""
    token = _depth.set(depth)
    try:
        yield
    finally:
        _depth.reset(token)


@contextlib.contextmanager
def depth_in_force():
    """Yields the depth set by the enclosing block, or a separate pass at t = 0."""
    depth = _depth.get()
    if depth is not None:
        yield depth
        return
    depth = surface()
    yield depth
    depth.forward.finish()


def combine(row, slices):
    """Returns sum_k row_k slices_k, skipping terms that are zero."""
    total = None
    for weight, theta in zip(row, slices, strict=True):
        if weight == 0:
            continue
        term = theta if weight == 1 else float(weight) * theta
        total = term if total is None else total + term
    return total
