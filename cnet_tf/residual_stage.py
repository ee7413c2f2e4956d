"""Residual units in the flat graph of a model, and stages of them.

`residual_search` finds them.
"""

import dataclasses

from cnet_tf import flat_graph
from cnet_tf.flat_graph import Call, Value


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """x -> x + f(x), and perhaps an activation after the sum.

    Attributes:
        start: x.
        branch: The calls of f, in order.
        add: The call of the sum.
        activation: The call of an activation, the only reader of the sum, or None.
    """

    start: Value
    branch: tuple[Call, ...]
    add: Call
    activation: Call | None

    def end(self, activated: bool) -> Value:
        """Returns the value that the next unit starts from."""
        return (self.activation if activated else self.add).outputs[0]

    def calls(self, activated: bool) -> tuple[Call, ...]:
        """Returns all calls of the unit."""
        last = (self.add, self.activation) if activated else (self.add,)
        return (*self.branch, *last)


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """Consecutive units of the same structure.

    Attributes:
        units: The units, in order.
        activated: Whether an activation after the sum is part of each unit.
    """

    units: tuple[Unit, ...]
    activated: bool

    def __str__(self):
        first, last = (self.units[i].calls(self.activated)[-1] for i in (0, -1))
        shape = "x".join("?" if n is None else str(n) for n in self.start.shape[1:])
        inside = f", {first.operation.name} inside" if self.activated else ""
        return f"{len(self.units)} units of {shape}, {first.name} to {last.name}" + (
            inside
        )

    @property
    def calls(self) -> list[Call]:
        """All calls of its units, in order."""
        return [call for unit in self.units for call in unit.calls(self.activated)]

    @property
    def models(self) -> list:
        """The nested models that contain these calls."""
        return [model for call in self.calls for model in call.models]

    @property
    def start(self) -> Value:
        """The state before the first unit."""
        return self.units[0].start

    @property
    def end(self) -> Value:
        """The state after the last unit."""
        return self.units[-1].end(self.activated)


@dataclasses.dataclass(frozen=True)
class Survey:
    """The residual units found in a model.

    Attributes:
        graph: Its calls; nested models that hold units of a stage are opened.
        stages: The stages in order, without those of too few units.
        left: For every other sum, by name, why it is not a unit of a stage.
    """

    graph: flat_graph.Graph
    stages: list[Stage]
    left: dict[str, str]
