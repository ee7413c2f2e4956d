"""A functional model as the list of its calls, models within it opened.

`keras.Model` wants names that are unique, which those of layers in several models need
not be; a list of calls wants nothing, and a part of it is again one.
"""

import dataclasses

import keras
from keras import ops

from cnet_tf.lifted_layer import is_graph


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """What a call gives, before it is known; each is itself only."""

    shape: tuple
    dtype: str


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, or of an operation such as `x + y`.

    Attributes:
        operation: What is called.
        args, kwargs: Of the call, with `Value`s in them.
        reads, makes: Those values, and those of the outputs.
    """

    operation: object
    args: tuple
    kwargs: dict
    reads: tuple[Value, ...]
    makes: tuple[Value, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class CallGraph:
    """Calls in an order in which they can be made.

    Attributes:
        inputs, outputs: Values of the whole.
        calls: The calls between.
    """

    inputs: tuple[Value, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Value, ...]

    def __call__(self, *tensors):
        """The outputs, a list, for tensors in the place of the inputs; in inference."""
        known = dict(zip(self.inputs, tensors, strict=True))
        for call in self.calls:
            args, kwargs = keras.tree.map_structure(
                lambda x: known[x] if isinstance(x, Value) else x,
                (call.args, call.kwargs),
            )
            outputs = keras.tree.flatten(call.operation(*args, **kwargs))
            known.update(zip(call.makes, outputs, strict=True))
        return [known[value] for value in self.outputs]

    def readers(self) -> dict[Value, list[Call]]:
        """The calls that read a value."""
        found = {}
        for call in self.calls:
            for value in dict.fromkeys(call.reads):
                found.setdefault(value, []).append(call)
        return found

    def part(self, start: Value, end: Value):
        """The graph from one value to another; None if the latter reads others too."""
        makers = {value: call for call in self.calls for value in call.makes}
        wanted, todo, reached = set(), [end], False
        while todo:
            value = todo.pop()
            if value is start:
                reached = True
            elif value not in makers:  # An input.
                return None
            elif makers[value] not in wanted:
                wanted.add(makers[value])
                todo += makers[value].reads
                if not makers[value].reads:  # State of its own.
                    return None
        calls = tuple(call for call in self.calls if call in wanted)
        return CallGraph((start,), calls, (end,)) if reached else None

    def replacing(self, operations) -> "CallGraph":
        """The graph with other operations in some calls.

        Args:
            operations: Function of a call to what is called in its place.
        """
        calls = tuple(
            dataclasses.replace(call, operation=operations(call)) for call in self.calls
        )
        return dataclasses.replace(self, calls=calls)


def call_graph(model) -> CallGraph:
    """The calls of a built functional or Sequential model."""
    inputs = tuple(Value(tuple(x.shape), x.dtype) for x in model.inputs)
    calls = []
    outputs = _open(model, inputs, calls)
    return CallGraph(inputs, tuple(calls), outputs)


def _open(model, given, calls) -> tuple[Value, ...]:
    """Adds the calls of a model on given values; returns the values of its outputs."""
    known = {}
    for tensor, value in zip(model.inputs, given, strict=True):
        # As a model does with its inputs, but between floats: layers do that, and an
        # input that is float32 by default would round states of float64.
        if value.dtype != tensor.dtype and not _floats(value, tensor):
            value = _cast(value, tensor.dtype, calls)
        known[id(tensor)] = value
    for node in _nodes(model):
        args, kwargs = keras.tree.map_structure(
            lambda x: known[id(x)] if isinstance(x, keras.KerasTensor) else x,
            (node.arguments.args, node.arguments.kwargs),
        )
        reads = tuple(known[id(x)] for x in node.input_tensors)
        if is_graph(node.operation):
            made = _open(node.operation, reads, calls)
        else:
            made = tuple(Value(tuple(x.shape), x.dtype) for x in node.outputs)
            calls.append(Call(node.operation, args, kwargs, reads, made))
        known.update(zip(map(id, node.outputs), made, strict=True))
    return tuple(known[id(x)] for x in model.outputs)


def _floats(*values) -> bool:
    return all("float" in str(value.dtype) for value in values)


def _cast(value, dtype, calls):
    made = Value(value.shape, dtype)
    calls.append(Call(ops.cast, (value, dtype), {}, (value,), (made,)))
    return made


def _nodes(model) -> list:
    """Keras' own nodes between inputs and outputs, each behind what it reads."""
    inputs = set(map(id, model.inputs))
    order, seen = [], set()
    todo = [(x, False) for x in reversed(model.outputs)]
    while todo:
        tensor, ready = todo.pop()
        if id(tensor) in inputs:
            continue
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            todo.append((tensor, True))
            todo += [(x, False) for x in node.input_tensors]
    return order
