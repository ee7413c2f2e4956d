"""Plain residual nets read as Euler's method: K units are K steps of length one.

    x_{k+1} = P(x_k + f_k(x_k)),  k = 0 .. K-1

is Euler with N = K for dx/dt = K f(t, x), 0 <= t <= 1, with f = f_k on cell k of K
equal ones. P is the identity or, where a ReLU follows each sum, the projection onto the
states that the ReLU lets pass; then it is the projected Euler method, whose limit is
the equation confined to these states. So a plain net has other schemes and steps too:
whether it computes the same with them is what `observed_order` asks.

Reference: Nagurney and Zhang 1996, Projected Dynamical Systems, chapter 2.
"""

import dataclasses
from collections.abc import Callable

import keras

from cnet_tf.basis import get_basis
from cnet_tf.call_graph import Call, CallGraph, Value
from cnet_tf.runge_kutta import path
from cnet_tf.tableaus import get_scheme


@dataclasses.dataclass(frozen=True)
class ResidualChain:
    """x(1) with dx/dt = K f_k(x) on cell k, by N steps of a scheme.

    Args:
        name: Of the chain.
        branches: The K functions f_k, whose outputs have the shape of their input.
        steps: N, a multiple of K: with K steps of Euler it is the plain net.
        scheme: Name of a scheme. Default `"euler"`.
        project: Function of the state after each step, or None.

    Raises:
        ValueError: unknown scheme, or N is no multiple of K.
    """

    name: str
    branches: tuple[Callable, ...]
    steps: int
    scheme: str = "euler"
    project: Callable | None = None

    def __post_init__(self):
        get_scheme(self.scheme)
        if self.steps < 1 or self.steps % self.nodes:
            raise ValueError(
                f"steps: expected a multiple of {self.nodes}, the units of the chain, "
                f"so that no step lies across two of them. Received {self.steps}."
            )

    @property
    def nodes(self) -> int:
        """K, the units."""
        return len(self.branches)

    @property
    def horizon(self) -> int:
        """eps = K, so that a step of N = K has length one."""
        return self.nodes

    def rate(self, time, x):
        """f(t, x)."""
        row = get_basis("constant", self.nodes).weights(time, time.side)
        return self.branches[row.index(1)](x)

    def __call__(self, x):
        *_, x = path(
            self.scheme,
            self.rate,
            x,
            self.steps,
            scale=self.horizon,
            project=self.project,
        )
        return x

    def manifested(self, scheme=None, steps=None):
        """The same units in another form; what is None stays as it is."""
        scheme, steps = scheme or self.scheme, steps or self.steps
        return dataclasses.replace(self, scheme=scheme, steps=steps)


@dataclasses.dataclass(frozen=True, eq=False)
class _Unit:
    """start -> total = start + branch(start), and the ReLU of it that alone reads it.

    Attributes:
        call: The call of the sum.
        activation: That of the ReLU, or None.
    """

    call: Call
    start: Value
    branch: CallGraph
    activation: Call | None

    @property
    def total(self):
        return self.call.makes[0]

    def end(self, projected):
        return self.activation.makes[0] if projected else self.total


def with_chains(graph: CallGraph) -> CallGraph:
    """The graph with every chain of two or more residual units as one `ResidualChain`.

    A chain is as long as it can be. Its units read nothing but the state, which has one
    shape, and nothing outside reads the states between them. They are sums of two, from
    `keras.layers.Add`, `x + y` or `keras.ops.add`. ReLUs between them count as
    projections, for a ReLU done twice is one, so that it means the same after half a
    step; other activations end a chain.
    """
    readers = graph.readers()
    units = [
        unit
        for call in graph.calls
        if _is_sum(call) and (unit := _unit(graph, call, readers))
    ]
    for number, (chain, projected) in enumerate(_chains(graph, units, readers)):
        graph = _replaced(graph, f"chain_{number}", chain, projected)
    return graph


def _is_sum(call) -> bool:
    return type(call.operation).__name__ == "Add" and len(call.reads) == 2


def _unit(graph, call, readers):
    """The residual unit that a sum closes, or None."""
    (total,) = call.makes
    for start, end in (call.reads, call.reads[::-1]):
        if start.shape == end.shape == total.shape and start is not end:
            branch = graph.part(start, end)
            if branch:
                return _Unit(call, start, branch, _relu(graph, total, readers))
    return None


def _relu(graph, total, readers):
    """The call of a ReLU that alone reads a sum, or None."""
    found = readers.get(total, [])
    if len(found) != 1 or total in graph.outputs:
        return None
    operation = found[0].operation
    if isinstance(operation, keras.layers.ReLU):
        relu = operation.negative_slope == 0 and operation.threshold == 0
    elif isinstance(operation, keras.layers.Activation):
        known = keras.activations.relu, keras.activations.relu6
        relu = operation.activation in known
    else:  # Operations of Keras.
        relu = type(operation).__name__ in ("Relu", "Relu6")
    return found[0] if relu else None


def _chains(graph, units, readers):
    """Units in a row, two at least, and whether they are projected."""
    by_start = {unit.start: unit for unit in units}

    def link(unit):
        """The unit behind, and whether there is a projection between."""
        for projected in (False, True):
            if projected and unit.activation is None:
                continue
            follower = by_start.get(unit.end(projected))
            if follower and _private(graph, follower, readers):
                return follower, projected
        return None, None

    done = set()
    for unit in units:  # In the order of the graph, so that the first comes first.
        follower, projected = link(unit)
        if follower is None or unit in done:
            continue
        chain = [unit]
        while (behind := link(chain[-1]))[0] and behind[1] == projected:
            chain.append(behind[0])
        if projected and chain[-1].activation is None:
            chain.pop()
        done.update(chain)
        if len(chain) > 1:
            yield chain, projected


def _private(graph, unit, readers) -> bool:
    """Whether only the unit itself reads the state it starts from."""
    inside = {*unit.branch.calls, unit.call}
    return unit.start not in graph.outputs and inside.issuperset(readers[unit.start])


def _replaced(graph, name, units, projected) -> CallGraph:
    """The graph with a chain in the place of units."""
    project = units[0].activation.operation if projected else None
    chain = ResidualChain(
        name,
        tuple(_function(unit.branch) for unit in units),
        len(units),
        project=project,
    )
    start, end = units[0].start, units[-1].end(projected)
    whole = Call(chain, (start,), {}, (start,), (end,))
    gone = {
        call
        for unit in units
        for call in (*unit.branch.calls, unit.call, projected and unit.activation)
    }
    last = units[-1].activation if projected else units[-1].call
    calls = [
        whole if call is last else call
        for call in graph.calls
        if call is last or call not in gone
    ]
    return dataclasses.replace(graph, calls=tuple(calls))


def _function(branch: CallGraph):
    def f(x):
        (y,) = branch(x)
        return y

    return f
