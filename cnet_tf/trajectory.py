"""Looks inside a net: the states h(t) that it runs through, and theta(t).

    h(0) = the input of a block,   h(n/N) = the state after step n,   h(1) = its output

A *flow* integrates an equation: a `ContinuousBlock`, or a `ResidualChain`, which is a
plain residual net read as a flow.
"""

import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction

import keras
import numpy as np
from keras import ops

from cnet_tf import flat_graph
from cnet_tf.any_depth import block_reading_own_norms
from cnet_tf.continuous_block import ContinuousBlock, check_call
from cnet_tf.model_graph import is_graph
from cnet_tf.paths import named_variables
from cnet_tf.residual_chain import ResidualChain, with_chains
from cnet_tf.runge_kutta import StageTime, path, stage_times, step
from cnet_tf.series import ForwardPass


class TappedNet:
    """A net whose flows can be observed, and replaced for single calls.

    Batch norms use their moving statistics, as in inference; those of a member of an
    any-depth net are read if the net is that member.

    Args:
        model: A built functional or Sequential model with continuous blocks; or a plain
            one with at least two residual units in a row (`residual_chain`).

    Attributes:
        flows: Its flows, in order.

    Raises:
        ValueError: it is another kind of model, has neither, or calls a block twice.
    """

    def __init__(self, model):
        if not is_graph(model) or not model.built:
            raise ValueError(
                "model: expected a built functional or Sequential model. Received "
                f"{getattr(model, 'name', model)!r}, a {type(model).__name__}."
            )
        graph = flat_graph.read(model)
        if not _flows(graph):
            graph = with_chains(graph)
        self._graph = graph
        self.flows = _flows(graph)
        if not self.flows:
            raise ValueError(
                "model: expected continuous blocks, or two residual units x + f(x) of "
                f"one shape in a row. Received {model.name!r}, which has neither."
            )
        for flow in self.flows:
            calls = sum(_flow(call) is flow for call in graph.calls)
            if calls > 1:
                raise ValueError(
                    "model: expected blocks that are called once. Received "
                    f"{flow.name!r}, which is called {calls} times, each time from "
                    "another start: give a model that calls it once."
                )
            if isinstance(flow, ContinuousBlock):
                check_call(flow)
        self._dtypes = [x.dtype for x in model.inputs]

    def __call__(self, inputs, replaced=None) -> list:
        """Returns the outputs for a batch.

        Args:
            inputs: An array, or several of them, one per input of the model.
            replaced: Number of a flow -> function (x, mask) that replaces it.
                Default: none.
        """
        stand_ins = {
            self.flows[i]: _StandIn(function)
            for i, function in (replaced or {}).items()
        }
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        outputs = self._graph.run(
            map(_tensor, inputs, self._dtypes),
            lambda call: stand_ins.get(_flow(call), call.operation),
        )
        return keras.tree.flatten(outputs)

    def starts(self, inputs) -> list:
        """Returns for every flow the pair (h(0), mask) that it receives for a batch."""
        seen = {}

        def tap(i):
            def watched(x, mask):
                seen[i] = x, mask
                return run(self.flows[i], x, mask)

            return watched

        self(inputs, {i: tap(i) for i in range(len(self.flows))})
        return [seen[i] for i in range(len(self.flows))]

    def number(self, name=None) -> int:
        """Returns the place of the flow with that name, or of the only flow.

        Raises:
            ValueError: no flow has that name, or there are several to choose from.
        """
        names = [flow.name for flow in self.flows]
        if name is None and len(names) == 1:
            return 0
        if name not in names:
            raise ValueError(
                f"block: expected one of {', '.join(names)}. Received {name!r}."
            )
        return names.index(name)


def _tensor(x, dtype):
    """Converts x to an input of that type; floats keep their precision."""
    x = ops.convert_to_tensor(x)
    return x if "float" in str(x.dtype) and "float" in dtype else ops.cast(x, dtype)


@dataclasses.dataclass(frozen=True)
class _StandIn:
    function: Callable

    def __call__(self, x, **kwargs):
        # Masks are attached to tensors, or passed in the call.
        mask = kwargs.get("mask")
        mask = getattr(x, "_keras_mask", None) if mask is None else mask
        return self.function(x, mask)


def _flow(call):
    """Returns the flow that is called, or None."""
    flow = call.operation
    return flow if isinstance(flow, (ContinuousBlock, ResidualChain)) else None


def _flows(graph) -> list:
    return list(dict.fromkeys(filter(None, map(_flow, graph.calls))))


def run(flow, x, mask=None):
    """Returns the output of a flow for x, in inference."""
    return flow(x) if mask is None else flow(x, mask=mask)


def in_form(flow, scheme, steps):
    """Returns a flow in another form, with the batch norms that `manifest` selects.

    Norms of the net as trained may be for its own evaluations, which no other form has.
    In its own form a flow is returned unchanged.
    """
    if (scheme, steps) == (flow.scheme, flow.steps):
        return flow
    other = flow.manifested(scheme=scheme, steps=steps)
    if isinstance(other, ContinuousBlock):
        other = block_reading_own_norms(other)
    return other


def states(flow, x, mask=None) -> list:
    """Returns h(0) = x, h(1/N), .., h(1) of a flow: its states between the steps."""
    return [x, *_steps(flow, x, mask)]


def _steps(flow, x, mask):
    return path(
        flow.scheme,
        rate_of(flow, mask),
        x,
        flow.steps,
        scale=flow.horizon,
        project=getattr(flow, "project", None),
    )


def rate_of(flow, mask=None, restriction=None):
    """Returns the rate of a flow, f(t, x), without its horizon.

    If given, `restriction` replaces that of the block.
    """
    if isinstance(flow, ResidualChain):
        return flow.rate
    forward = ForwardPass(restriction or flow.restriction)

    def rate(x):
        return flow.rate_in(x, training=False, mask=mask)(x)

    return forward.reading(rate)


def state_at(net, block, inputs, t, refined=1):
    """Returns the hidden state h(t) of a block, at any depth.

    Up to the last border of steps before t, the state is the one that the net computes;
    from there one shorter step of the same scheme leads to t.

        half = state_at(net, "block_1", images, Fraction(1, 2))

    Args:
        net: A built functional or Sequential model, see `TappedNet`; or a `TappedNet`,
            which saves making one.
        block: Name of a block; None if there is only one.
        inputs: A batch of inputs of the net.
        t: A rational in [0, 1]: an int, a Fraction, or text such as "1/3".
        refined: Number of steps to take for each of the net's. Default 1.

    Returns:
        The state, of the shape of the block's input; at t = 1 the block's output.

    Raises:
        ValueError: no such block, or t is outside [0, 1].
        TypeError: t is a float, which would have to be rounded at step borders.
    """
    if isinstance(t, float):
        raise TypeError(f"t: expected an exact Fraction. Received the float {t}.")
    t = Fraction(t)
    if not 0 <= t <= 1:
        raise ValueError(f"t: expected 0 <= t <= 1. Received {t}.")
    tapped = net if isinstance(net, TappedNet) else TappedNet(net)
    number = tapped.number(block)
    x, mask = tapped.starts(inputs)[number]
    flow = tapped.flows[number]
    flow = in_form(flow, flow.scheme, flow.steps * refined)
    n = int(t * flow.steps)
    for state in itertools.islice(_steps(flow, x, mask), n):
        x = state
    if part := t * flow.steps - n:
        # The times still belong to step n, so that theta is read as within that step.
        times = [
            StageTime(
                n,
                time.node * part,
                flow.steps,
                stage=time.stage,
                share=time.share and tuple(part * end for end in time.share),
                side=time.side,
            )
            for time in stage_times(flow.scheme, n, flow.steps)
        ]
        h = Fraction(flow.horizon) * part / flow.steps
        x = step(flow.scheme, rate_of(flow, mask), x, times, h)
        if getattr(flow, "project", None):
            x = flow.project(x)
    return x


def theta(block, points=9) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Samples theta(t) of every series that a block reads, cell by cell.

    Args:
        block: A built `ContinuousBlock`.
        points: Depths in each cell of its basis, including both borders, where theta
            may jump. Default 9.

    Returns:
        The depths, float64 (T,), and for the name of each series an array (T, *shape).
    """
    breaks = block.basis.breaks
    depths = [
        (low + (high - low) * Fraction(i, points - 1), "right" if i == 0 else "left")
        for low, high in itertools.pairwise(breaks)
        for i in range(points)
    ]
    names = {id(v): name for name, v in named_variables(block.rate).items()}
    curves = {}
    for series in block.series_read:
        rows = [series.basis.weights(t, side) for t, side in depths]
        values = ops.convert_to_numpy(series.variable)
        name = names.get(id(series.variable), series.variable.path)
        curves[name] = np.tensordot(np.array(rows, "float64"), values, axes=1)
    return np.array([float(t) for t, _ in depths]), curves


def per_channel(curve) -> np.ndarray:
    """Reduces a curve (T, .., channels) to one number per channel, (T, channels).

    Vectors (biases, gamma, beta, statistics) already have one; for kernels it is the
    Euclidean norm of the weights that lead to each channel.
    """
    if curve.ndim < 3:
        return curve.reshape(len(curve), -1)
    return np.linalg.norm(curve.reshape(len(curve), -1, curve.shape[-1]), axis=1)


def squares(states, others=None) -> np.ndarray:
    """Returns |x - y|^2 per example, over all other axes and states; float64 (batch,).

    Args:
        states: A list of states x (batch, ..).
        others: As many states y, or None for zeros.
    """
    total = 0.0
    for i, x in enumerate(states):
        x = ops.convert_to_numpy(x).astype("float64")
        if others is not None:
            x = x - ops.convert_to_numpy(others[i]).astype("float64")
        total = total + np.square(x).reshape(len(x), -1).sum(axis=1)
    return total
