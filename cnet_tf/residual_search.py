"""Finds stages of equal residual units in a model: chains of x -> x + f_k(x).

A unit is a sum of two tensors, one of which is computed from the other alone. The units
of a stage follow one another, and their branches f_k have the same layers, settings and
shapes. If a layer without weights follows each sum, like the ReLU in He's nets, it is
part of the unit, x -> act(x + f_k(x)).

    for stage in residual_stages(model).stages:
        print(stage)

A `Reading` defines what counts as a unit: units that become one block must be alike,
steps of Euler need not be.
"""

import dataclasses
import functools
import numbers
from collections.abc import Callable

import keras

from cnet_tf import flat_graph
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.flat_graph import Call, Value
from cnet_tf.fresh_layer import settings
from cnet_tf.lifted_layer import LiftedLayer
from cnet_tf.residual_stage import Stage, Survey, Unit
from cnet_tf.series import SeriesLayer

# Activations that may follow a sum and belong to the unit.
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)


@dataclasses.dataclass(frozen=True)
class Reading:
    """Defines what counts as a unit of a stage.

    Attributes:
        follows: Function that tells whether an operation after the sum may belong to
            the unit.
        alike: Whether units must have the same layers and settings, and weights that
            are not shared with any other part of the model.
    """

    follows: Callable
    alike: bool


CONVERTIBLE = Reading(lambda operation: isinstance(operation, _ACTIVATIONS), alike=True)


def residual_stages(model, least=2) -> Survey:
    """Finds the stages of a model.

    Args:
        model: A built functional or Sequential model.
        least: Minimum number of units in a stage. Default 2.
    """
    found = survey(flat_graph.read(model), least)
    # Searches again, with nested models that hold no unit of a stage as single calls.
    opened = {id(x) for stage in found.stages for x in stage.models}
    graph = flat_graph.read(model, lambda part: id(part) in opened)
    return dataclasses.replace(survey(graph, least), left=found.left)


def survey(graph, least=2, reading=CONVERTIBLE) -> Survey:
    """Finds the stages of a graph; see `residual_stages` and `Reading`."""
    search = _Search(graph, reading)
    units, left = [], {}
    for call in graph.calls:
        if _is_sum(call):
            found = search.unit(call)
            if isinstance(found, Unit):
                units.append(found)
            else:
                left[call.name] = found
    stages = []
    for stage in _chains(units, search):
        if len(stage.units) >= least:
            stages.append(stage)
            continue
        for unit in stage.units:
            left[unit.add.name] = (
                f"{len(stage.units)} in a row, without another of the same structure"
            )
    return Survey(graph, stages, left)


class _Search:
    """Finds units by looking up which calls make and read the values of a graph."""

    def __init__(self, graph, reading):
        self.reading = reading
        self.makers = {value: call for call in graph.calls for value in call.outputs}
        self.places = {call: i for i, call in enumerate(graph.calls)}
        self.readers, self.times = {}, {}
        for call in graph.calls:
            self.times[call.operation] = self.times.get(call.operation, 0) + 1
            for value in call.inputs:
                self.readers.setdefault(value, []).append(call)
        self.results = set(keras.tree.flatten(graph.outputs))

    def unit(self, call) -> Unit | str:
        """Returns the unit that ends in a sum, or the reason why there is none."""
        summands = call.inputs
        if len(summands) != 2 or len({x.shape for x in summands}) > 1:
            return "it adds something other than two tensors of one shape"
        for start, end in (summands, reversed(summands)):
            branch = self._between(start, end)
            if branch:
                break
        else:
            names = (self.makers[x].name if x in self.makers else "x" for x in summands)
            return (
                f"it adds {' and '.join(names)}, neither of which is the input of the "
                "other"
            )
        if refusal := self._refusal(branch, call):
            return refusal
        return Unit(start, branch, call, self._activation(call.outputs[0]))

    def _between(self, start, end) -> tuple[Call, ...]:
        """Returns all calls from `start` to `end`; none if `end` needs other inputs."""
        found, waiting = set(), [end]
        while waiting:
            value = waiting.pop()
            if value is start:
                continue
            call = self.makers.get(value)
            if call is None or not call.inputs:
                return ()
            if call not in found:
                found.add(call)
                waiting += call.inputs
        return tuple(sorted(found, key=self.places.get))

    def _refusal(self, branch, add) -> str:
        inside = {*branch, add}
        for call in branch:
            part = call.operation
            shared = self.times[part] > 1 and getattr(part, "weights", ())
            if self.reading.alike and shared:
                return f"{call.name} is shared with another part of the model"
            if isinstance(part, (ContinuousBlock, LiftedLayer)) or (
                isinstance(part, SeriesLayer) and part.basis.size > 1
            ):
                return f"{call.name} already depends on depth"
            if any(self.read_elsewhere(value, inside) for value in call.outputs):
                return f"{call.name} is read outside of the branch"
        return ""

    def read_elsewhere(self, value, calls) -> bool:
        """Whether anything but these calls reads a value."""
        others = [x for x in self.readers.get(value, ()) if x not in calls]
        return bool(others) or value in self.results

    def _activation(self, value) -> Call | None:
        readers = self.readers.get(value, [])
        if len(readers) != 1 or value in self.results:
            return None
        return readers[0] if self.reading.follows(readers[0].operation) else None


def _is_sum(call) -> bool:
    # `keras.layers.Add`, or the operation behind `x + y`; a block could not regularise
    # the activity of its sums.
    regularised = getattr(call.operation, "activity_regularizer", None)
    return type(call.operation).__name__ == "Add" and not regularised


def _chains(units, search) -> list[Stage]:
    """Joins units to chains as long as possible, with every unit in one of them."""
    following = {unit.start: unit for unit in units}
    chains, used = [], set()
    for unit in units:
        if unit in used:
            continue
        chain, activated = [unit], None
        while after := _next(chain[-1], activated, following, search):
            after, activated = after
            chain.append(after)
        used.update(chain)
        chains.append(Stage(tuple(chain), bool(activated)))
    return chains


def _next(unit, activated, following, search):
    """Returns (the next unit, whether an activation is in between), or None."""
    kinds = (False, True) if activated is None else (activated,)
    for kind in kinds:
        if kind and unit.activation is None:
            continue
        value = unit.end(kind)
        after = following.get(value)
        if (
            after is not None
            and (not kind or after.activation is not None)
            and not search.read_elsewhere(value, after.calls(False))
            and (
                not search.reading.alike
                or _structure(unit, kind) == _structure(after, kind)
            )
        ):
            return after, kind
    return None


def _structure(unit, activated):
    """Describes a unit; equal for units that differ only in the values of weights."""
    numbers = {unit.start: 0}
    rows = [unit.start.shape[1:], unit.start.dtype]
    for call in unit.calls(activated):
        arguments = keras.tree.map_structure(
            lambda x: f"#{numbers[x]}" if isinstance(x, Value) else _exact(x),
            (call.args, call.kwargs),
        )
        # `x + y`, an `Add` layer, either order of the terms: all are the same sum.
        same = "sum" if call is unit.add else (_settings(call.operation), arguments)
        rows.append(repr(same))
        for value in call.outputs:
            numbers[value] = len(numbers)
    return rows


def _exact(x):
    """Replaces arrays by all of their numbers, of which `repr` shows only some."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        x = keras.ops.convert_to_numpy(x)
        return x.shape, str(x.dtype), x.tobytes()
    return x


def _settings(operation):
    config, functions = settings(operation)
    config.pop("name", None)
    weights = getattr(operation, "weights", ())
    shapes = [(tuple(v.shape), v.trainable) for v in weights]
    called = [_code(function) for function in functions.values()]
    return type(operation), _without_draws(config), shapes, called


def _code(function):
    """Describes a function; equal for equal code over equal values."""
    if isinstance(function, functools.partial):
        return _code(function.func), function.args, function.keywords
    code = getattr(function, "__code__", None)
    if code is None:  # Of a library in another language.
        return id(function)
    closure = [_value(cell.cell_contents) for cell in function.__closure__ or ()]
    own = function.__defaults__, function.__kwdefaults__
    return code, own, closure, id(getattr(function, "__self__", None))


def _value(x):
    if callable(x):
        return _code(x)
    return x if isinstance(x, (str, numbers.Number, tuple)) else id(x)


def _without_draws(config):
    """Returns a config without its initializers and seeds."""
    if isinstance(config, dict):
        return {
            key: _without_draws(value)
            for key, value in config.items()
            if not str(key).endswith(("initializer", "seed"))
        }
    if isinstance(config, (list, tuple)):
        return [_without_draws(part) for part in config]
    return config
