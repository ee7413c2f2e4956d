"""Reads plain residual nets as Euler's method: K units are K steps of length one.

    x_{k+1} = P(x_k + f_k(x_k)),  k = 0 .. K-1

is Euler with N = K for dx/dt = K f(t, x), 0 <= t <= 1, where f = f_k on cell k of K
equal cells. P is the identity or, if a ReLU follows each sum, the projection onto the
states that the ReLU leaves unchanged. The latter is the projected Euler method, whose
limit is the equation confined to these states. So a plain net can be run with other
schemes and steps too; `observed_order` tests whether it still computes the same.

Reference: Nagurney and Zhang 1996, Projected Dynamical Systems, chapter 2.
"""

import dataclasses
from collections.abc import Callable

import keras

from cnet_tf import flat_graph, residual_search
from cnet_tf.basis import get_basis
from cnet_tf.flat_graph import Call, Graph
from cnet_tf.runge_kutta import integrate
from cnet_tf.tableaus import get_scheme


@dataclasses.dataclass(frozen=True)
class ResidualChain:
    """x(1) with dx/dt = K f_k(x) on cell k, by N steps of a scheme.

    Args:
        name: Name of the chain.
        branches: The K functions f_k, whose outputs have the shape of their input.
        steps: N, a multiple of K; K steps of Euler give the plain net.
        scheme: Name of a scheme. Default `"euler"`.
        project: Function applied to the state after each step, or None.

    Raises:
        ValueError: unknown scheme, or N is not a multiple of K.
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
                f"so that no step spans two of them. Received {self.steps}."
            )

    @property
    def nodes(self) -> int:
        """K, the number of units."""
        return len(self.branches)

    @property
    def horizon(self) -> int:
        """eps = K, so that steps have length one if N = K."""
        return self.nodes

    def rate(self, time, x):
        """Returns f(t, x)."""
        row = get_basis("constant", self.nodes).weights(time, time.side)
        return self.branches[row.index(1)](x)

    def __call__(self, x):
        return integrate(
            self.scheme,
            self.rate,
            x,
            self.steps,
            scale=self.horizon,
            project=self.project,
        )

    def manifested(self, scheme=None, steps=None):
        """Returns the same units in another form; None keeps the current value."""
        scheme, steps = scheme or self.scheme, steps or self.steps
        return dataclasses.replace(self, scheme=scheme, steps=steps)


def is_relu(operation) -> bool:
    """Whether it is ReLU or ReLU6, which are idempotent and therefore projections."""
    if isinstance(operation, keras.layers.ReLU):
        return operation.negative_slope == 0 and operation.threshold == 0
    if isinstance(operation, keras.layers.Activation):
        known = keras.activations.relu, keras.activations.relu6
        return operation.activation in known
    return type(operation).__name__ in ("Relu", "Relu6")  # Operations of Keras.


# Units may have any layers. The ReLU of a state is a projection; other activations are
# not.
_EULER = residual_search.Reading(is_relu, alike=False)


def with_chains(graph: Graph) -> Graph:
    """Returns the graph with each chain of residual units as one `ResidualChain`.

    A chain has two or more units and is as long as possible. Its units read nothing but
    the state, whose shape does not change, and nothing outside reads the states between
    them. Each unit is a sum of two terms, from `keras.layers.Add`, `x + y` or
    `keras.ops.add`. ReLUs between units count as projections, which mean the same after
    half a step; other activations end a chain.
    """
    stages = residual_search.survey(graph, 2, _EULER).stages
    whole = {stage.end: _call(f"chain_{i}", stage) for i, stage in enumerate(stages)}
    gone = {call for stage in stages for call in stage.calls}
    calls = []
    for call in graph.calls:
        last = next((x for x in call.outputs if x in whole), None)
        if last is not None:
            calls.append(whole[last])
        elif call not in gone:
            calls.append(call)
    return dataclasses.replace(graph, calls=calls)


def _call(name, stage) -> Call:
    """Returns the call of a chain that replaces a stage."""
    branches = tuple(map(_branch, stage.units))
    project = stage.units[0].activation.operation if stage.activated else None
    chain = ResidualChain(name, branches, len(branches), project=project)
    return Call(chain, (), (stage.start,), {}, (stage.end,))


def _branch(unit):
    """Returns f of a unit x -> x + f(x), as a function."""
    end = unit.branch[-1].outputs[0]

    def f(x):
        known = {unit.start: x}
        flat_graph.run(unit.branch, known, lambda call: call.operation)
        return known[end]

    return f
