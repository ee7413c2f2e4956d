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

from cnet_tf import flat_graph, residual_search
from cnet_tf.basis import get_basis
from cnet_tf.flat_graph import Call, Graph
from cnet_tf.runge_kutta import integrate
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
        return integrate(
            self.scheme,
            self.rate,
            x,
            self.steps,
            scale=self.horizon,
            project=self.project,
        )

    def manifested(self, scheme=None, steps=None):
        """The same units in another form; what is None stays as it is."""
        scheme, steps = scheme or self.scheme, steps or self.steps
        return dataclasses.replace(self, scheme=scheme, steps=steps)


def is_relu(operation) -> bool:
    """Whether it is ReLU or ReLU6: done twice it is done once, so it projects."""
    if isinstance(operation, keras.layers.ReLU):
        return operation.negative_slope == 0 and operation.threshold == 0
    if isinstance(operation, keras.layers.Activation):
        known = keras.activations.relu, keras.activations.relu6
        return operation.activation in known
    return type(operation).__name__ in ("Relu", "Relu6")  # Operations of Keras.


# Units of any layers; the ReLU of a state is a projection, other activations are not.
_EULER = residual_search.Reading(is_relu, alike=False)


def with_chains(graph: Graph) -> Graph:
    """The graph with every chain of two or more residual units as one `ResidualChain`.

    A chain is as long as it can be. Its units read nothing but the state, which has one
    shape, and nothing outside reads the states between them. They are sums of two, from
    `keras.layers.Add`, `x + y` or `keras.ops.add`. ReLUs between them count as
    projections, which mean the same after half a step; other activations end a chain.
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
    """The call of a chain in the place of a stage."""
    branches = tuple(map(_branch, stage.units))
    project = stage.units[0].activation.operation if stage.activated else None
    chain = ResidualChain(name, branches, len(branches), project=project)
    return Call(chain, (), (stage.start,), {}, (stage.end,))


def _branch(unit):
    """f of a unit x -> x + f(x), as a function."""
    end = unit.branch[-1].outputs[0]

    def f(x):
        known = {unit.start: x}
        flat_graph.run(unit.branch, known, lambda call: call.operation)
        return known[end]

    return f
