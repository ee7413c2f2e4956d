"""A functional or Sequential model as a flat list of calls, nested models opened.

Code that searches a model for structures, or rewrites them, reads this list: Keras' own
graph ends at the border of every nested model.
"""

import dataclasses
import inspect
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
        models: The opened models around it, outermost first.
        args, kwargs: Its arguments, in which values stand for tensors.
        outputs: Its output values.
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
        """The name of the operation, prefixed with those of the models around it."""
        return "_".join(x.name for x in (*self.models, self.operation))


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A model as a flat list of calls.

    Attributes:
        inputs: Its input values, flat.
        calls: Its calls, in an order in which they can be computed.
        outputs: A nest of values, structured like the outputs of the model.
    """

    inputs: list[Value]
    calls: list[Call]
    outputs: object

    def run(self, inputs, function: Callable):
        """Returns the nest of outputs for inputs.

        Args:
            inputs: Tensors or Keras tensors, flat.
            function: Maps a call to the callable to use instead.
        """
        known = dict(zip(self.inputs, inputs, strict=True))
        run(self.calls, known, function)
        return _filled(self.outputs, known)


def run(calls, known: dict, function: Callable):
    """Computes the values of calls.

    Args:
        calls: The calls, in order.
        known: Tensors by value; the outputs of the calls are added.
        function: Maps a call to the callable to use instead.
    """
    for call in calls:
        args, kwargs = _filled((call.args, call.kwargs), known)
        outputs = keras.tree.flatten(function(call)(*args, **kwargs))
        known.update(zip(call.outputs, outputs, strict=True))


def read(model, opened: Callable = lambda model: True) -> Graph:
    """Reads a model as a flat list of calls.

    Args:
        model: A built functional or Sequential model.
        opened: Tells whether a nested functional or Sequential model is opened; one
            that is not opened is a single call. Default: all are opened.
    """
    calls = []

    def visit(model, models, inputs, training=None):
        """Appends the calls of a model; returns the nest of its outputs.

        A model that is called with `training=True` hands that on to all its layers.
        """
        known = dict(zip(map(id, model.inputs), inputs, strict=True))
        # A nested model may have been called on sizes that it leaves free.
        free = any(
            tuple(x.shape) != y.shape for x, y in zip(model.inputs, inputs, strict=True)
        )

        def value(x):
            return known[id(x)] if isinstance(x, keras.KerasTensor) else x

        for operation, arguments, outputs in _nodes(model):
            args, kwargs = keras.tree.map_structure(value, arguments)
            if training is not None and _takes_training(operation):
                kwargs = {**kwargs, "training": training}
            masked = any(isinstance(x, Value) for x in keras.tree.flatten(kwargs))
            if is_graph(operation) and not masked and opened(operation):
                tensors = keras.tree.flatten(args)
                inside = (*models, operation)
                found = visit(operation, inside, tensors, kwargs.get("training"))
                values = keras.tree.flatten(found)
            else:
                specs = _specs(operation, args, kwargs) if free else outputs
                values = [Value(tuple(x.shape), x.dtype) for x in specs]
                call = Call(operation, models, args, kwargs, tuple(values))
                calls.append(call)
            known.update(zip(map(id, outputs), values, strict=True))
        # For a single output Keras keeps the tensor, or a list with it.
        return keras.tree.map_structure(value, _output(model))

    inputs = [Value(tuple(x.shape), x.dtype) for x in model.inputs]
    outputs = visit(model, (), inputs)
    return Graph(inputs, calls, outputs)


def _specs(operation, args, kwargs):
    """Returns the outputs for values whose shapes differ from the model's own."""
    args, kwargs = keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, x.dtype) if isinstance(x, Value) else x,
        (args, kwargs),
    )
    return keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))


def _takes_training(operation) -> bool:
    return is_graph(operation) or (
        "training" in inspect.signature(operation.call).parameters
    )


def _output(model):
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def _nodes(model):
    """Yields (operation, (args, kwargs), outputs) of a model, in a computable order."""
    if isinstance(model, keras.Sequential):
        model = model._functional  # The only record of what its layers were called on.
    # Keras' public API lists layers, but not the calls of shared ones.
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
