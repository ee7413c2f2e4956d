"""A functional or Sequential model as a flat list of calls, models within it opened.

What searches a model for structures, or writes them anew, reads this list: Keras' own
graph ends at the border of every model in the model.
"""

import dataclasses
from collections.abc import Callable

import keras

from cnet_tf.model_graph import is_graph


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor between calls.

    Attributes:
        shape, dtype: As in `keras.KerasTensor`.
    """

    shape: tuple
    dtype: str


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, or of an operation such as `x + y`.

    Attributes:
        operation: What is called.
        models: The opened models around it, the outermost first.
        args, kwargs: Its arguments, in which values stand for tensors.
        outputs: Its values.
    """

    operation: object
    models: tuple
    args: tuple
    kwargs: dict
    outputs: tuple[Value, ...]

    @property
    def inputs(self) -> list[Value]:
        """The values among its arguments."""
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return [x for x in leaves if isinstance(x, Value)]

    @property
    def name(self) -> str:
        """The name of the operation behind those of the models around it."""
        return "_".join(x.name for x in (*self.models, self.operation))


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A model.

    Attributes:
        inputs: Its values, flat.
        calls: In an order in which they can be computed.
        outputs: A nest of values, as that of the model.
    """

    inputs: list[Value]
    calls: list[Call]
    outputs: object

    def run(self, inputs, function: Callable):
        """The nest of outputs for inputs.

        Args:
            inputs: Tensors or Keras tensors, flat.
            function: Of a call to what is called in its place.
        """
        known = dict(zip(self.inputs, inputs, strict=True))
        run(self.calls, known, function)
        return _filled(self.outputs, known)


def run(calls, known: dict, function: Callable):
    """Computes the values of calls.

    Args:
        calls: In order.
        known: Tensors by value; those of the calls are added.
        function: Of a call to what is called in its place.
    """
    for call in calls:
        args, kwargs = _filled((call.args, call.kwargs), known)
        outputs = keras.tree.flatten(function(call)(*args, **kwargs))
        known.update(zip(call.outputs, outputs, strict=True))


def read(model, opened: Callable = lambda model: True) -> Graph:
    """The flat list of a model.

    Args:
        model: A built functional or Sequential model.
        opened: Whether a functional or Sequential model within it is opened; one that
            is not is a single call. Default: all are.
    """
    calls = []

    def visit(model, models, inputs):
        """Appends the calls of a model; returns the nest of its outputs."""
        known = dict(zip(map(id, model.inputs), inputs, strict=True))
        # A model within the model may have been called on sizes that it left free.
        free = any(
            tuple(x.shape) != y.shape for x, y in zip(model.inputs, inputs, strict=True)
        )

        def value(x):
            return known[id(x)] if isinstance(x, keras.KerasTensor) else x

        for operation, arguments, outputs in _nodes(model):
            args, kwargs = keras.tree.map_structure(value, arguments)
            masked = any(isinstance(x, Value) for x in keras.tree.flatten(kwargs))
            if is_graph(operation) and not masked and opened(operation):
                tensors = keras.tree.flatten(args)
                found = visit(operation, (*models, operation), tensors)
                values = keras.tree.flatten(found)
            else:
                specs = _specs(operation, args, kwargs) if free else outputs
                values = [Value(tuple(x.shape), x.dtype) for x in specs]
                call = Call(operation, models, args, kwargs, tuple(values))
                calls.append(call)
            known.update(zip(map(id, outputs), values, strict=True))
        # Of one output Keras keeps the tensor, or a list of it.
        return keras.tree.map_structure(value, _output(model))

    inputs = [Value(tuple(x.shape), x.dtype) for x in model.inputs]
    outputs = visit(model, (), inputs)
    return Graph(inputs, calls, outputs)


def _specs(operation, args, kwargs):
    """The outputs for values of other shapes than those of the model itself."""
    args, kwargs = keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, x.dtype) if isinstance(x, Value) else x,
        (args, kwargs),
    )
    return keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))


def _output(model):
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def _nodes(model):
    """(operation, (args, kwargs), outputs) of a model, in an order to compute them."""
    if isinstance(model, keras.Sequential):
        model = model._functional  # The only record of what its layers were called on.
    # Keras lists layers in public, but not the calls of those that are shared.
    by_depth = model._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if not node.is_input:
                arguments = node.arguments.args, node.arguments.kwargs
                yield node.operation, arguments, node.outputs


def _filled(nest, known):
    return keras.tree.map_structure(
        lambda x: known[x] if isinstance(x, Value) else x, nest
    )
