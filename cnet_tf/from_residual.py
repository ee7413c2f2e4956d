"""Residual nets as continuous ones: a chain of K units is Euler with N = K, eps = K.

    x_{k+1} = x_k + f_k(x_k)    is    dx/dt = K R(theta(t), x),  N = K steps,

theta piecewise constant with f_k = R(theta_k, .). Results stay the same bit for bit
(up to rounding for units x -> act(x + f(x)), see `from_residual`), and everything a
block can do becomes available: other bases and fewer pieces (`project`), other schemes
and steps (`manifest`). Both are best `recalibrated` or trained further.

    net = from_residual(keras.applications.ResNet50V2())
    smooth = project(net, basis="hat", nodes=3, steps=4)
"""

import keras
import numpy as np

from cnet_tf import flat_graph
from cnet_tf.adapted import settle
from cnet_tf.checks import finite_values
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.lifted_layer import without_draws
from cnet_tf.model_graph import inputs_like, layers_of
from cnet_tf.residual_search import residual_stages
from cnet_tf.residual_stage import Stage
from cnet_tf.series import SeriesLayer
from cnet_tf.surgery import copied

_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


def from_residual(model, least=2) -> keras.Model:
    """Returns the model with a `ContinuousBlock` per stage of equal residual units.

    The logits are the same; weights and moving statistics are carried over, and frozen
    layers stay frozen. For units x -> act(x + f(x)) the block has the rate
    act(x + f(x)) - x: the same up to rounding, at the cost of a subtraction.

    Args:
        model: A built functional or Sequential model, which is not changed. Layer names
            are kept; nested models that hold units of a stage are opened.
        least: The fewest units that make a stage. Default 2.

    Returns:
        A functional model with blocks `block_0`, `block_1` ..

    Raises:
        ValueError: no stage of equal units, with the reason for each sum; or a mask
            that the units lose.

    Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389, section 3.
    """
    survey = residual_stages(model, least)
    if not survey.stages:
        reasons = "; ".join(f"{name}: {why}" for name, why in survey.left.items())
        raise ValueError(
            f"model: expected at least {least} residual units of equal shape and layers"
            f" in a row. Received {model.name!r}: {reasons or 'no sums of tensors'}."
        )
    graph, names = survey.graph, _Names(survey)
    ends = {stage.end: stage for stage in survey.stages}
    inside = {call for stage in survey.stages for call in stage.calls}
    inputs = inputs_like(model)
    known = dict(zip(graph.inputs, keras.tree.flatten(inputs), strict=True))
    twins, blocks = {}, []

    def twin(call):
        if id(call.operation) not in twins:
            twins[id(call.operation)] = call.operation, names.copy(call)
        return twins[id(call.operation)][1]

    for call in graph.calls:
        if call not in inside:
            flat_graph.run([call], known, twin)
        elif stage := next((ends[x] for x in call.outputs if x in ends), None):
            _check_mask(stage, known)
            block = _block(stage, names.block())
            known[stage.end] = block(known[stage.start])
            blocks.append((stage, block))
    outputs = keras.tree.map_structure(known.get, graph.outputs)
    net = keras.Model(inputs, outputs, name=model.name)
    for old, new in twins.values():
        for one, other in zip(
            getattr(old, "variables", ()), getattr(new, "variables", ()), strict=True
        ):
            other.assign(finite_values(one))
            _freeze_alike([one], other)
    settle(net)
    for stage, block in blocks:
        _carry_over(stage, block)
    return net


def _check_mask(stage, known):
    """Refuses units that lose a mask, which a block would pass on."""
    if getattr(known[stage.start], "_keras_mask", None) is None:
        return
    for unit in stage.units:
        for call in unit.branch:
            # Keras' attention takes the mask off the very tensors that it is given,
            # which the sum then adds; the symbolic graph does not show it.
            attends = isinstance(call.operation, _ATTENTION)
            if attends and unit.start in call.inputs:
                raise ValueError(
                    "model: expected no mask in front of attention that reads a state "
                    f"itself. Received one at {call.name!r}: put a norm in between, or "
                    "remove the mask in front."
                )
    trial = dict(known)
    flat_graph.run(stage.calls, trial, lambda call: copied(call.operation))
    if getattr(trial[stage.end], "_keras_mask", None) is None:
        raise ValueError(
            "model: expected no mask in front of residual units that lose it. Received "
            f"one at {stage.units[0].add.name!r}: remove the mask in front of them."
        )


class _Names:
    """Layer names of the new model: the old names where they are unique."""

    def __init__(self, survey):
        inside = {call for stage in survey.stages for call in stage.calls}
        kept = {
            id(call.operation): call
            for call in survey.graph.calls
            if call not in inside
        }
        own = [call.operation.name for call in kept.values()]
        self._twice = {name for name in own if own.count(name) > 1}
        self._taken, self._blocks = set(own), 0

    def copy(self, call):
        """Returns a fresh layer like the one that is called."""
        part = copied(call.operation)
        if part.name in self._twice:
            part.name = call.name
        return part

    def block(self) -> str:
        while (name := f"block_{self._blocks}") in self._taken:
            self._blocks += 1
        self._taken.add(name)
        return name


def _block(stage: Stage, name) -> ContinuousBlock:
    """Returns a block around the first unit; `_carry_over` sets its weights later."""
    first, count = stage.units[0], len(stage.units)
    start = keras.Input(
        batch_shape=first.start.shape, dtype=first.start.dtype, name="state"
    )
    known, made = {first.start: start}, {}

    def layer(call):
        if id(call.operation) not in made:
            made[id(call.operation)] = copied(call.operation)
            made[id(call.operation)].name = _name(call, first)
        return made[id(call.operation)]

    flat_graph.run(first.branch, known, layer)
    slope = known[first.branch[-1].outputs[0]]
    if stage.activated:
        flat_graph.run((first.add, first.activation), known, layer)
        slope = keras.layers.Subtract(dtype=first.start.dtype, name="increment")(
            [known[stage.units[0].end(True)], start]
        )
    unit = keras.Model(start, slope, name="rate")
    # The policy of the sum: in mixed precision the units' states are in half precision.
    policy = getattr(first.add.operation, "dtype_policy", first.start.dtype)
    with without_draws():
        block = ContinuousBlock(
            *(unit, count, "euler", count, "constant"),
            horizon=count,
            dtype=policy,
            name=name,
        )
        block.build(first.start.shape)
    return block


def _name(call, unit):
    """Returns the name of a call within its unit."""
    shared = unit.add.models
    outside = "_".join(model.name for model in shared)
    inside = call.models[: len(shared)] == shared and outside
    return call.name.removeprefix(f"{outside}_") if inside else call.name


def _carry_over(stage, block):
    """Sets theta_k to the weights of unit k."""
    layers = {layer.name: layer for layer in layers_of(block.rate)}
    first = stage.units[0]
    for i, call in enumerate(first.calls(stage.activated)):
        new = layers.get(_name(call, first))
        if not isinstance(new, SeriesLayer):
            continue
        pieces = [unit.calls(stage.activated)[i].operation for unit in stage.units]
        rows = zip(*map(_variables, pieces), strict=True)
        for series, olds in zip(new.series, rows, strict=True):
            shape = series.variable.shape[1:]
            values = [finite_values(old).reshape(shape) for old in olds]
            series.variable.assign(np.stack(values))
            _freeze_alike(olds, series.variable)


def _freeze_alike(olds, new):
    """Freezes a variable that was frozen by itself, in a layer that learns."""
    if new.trainable and not any(old.trainable for old in olds):
        new.trainable = False


def _variables(layer) -> list:
    """Returns the weights of a layer in the order of the series that hold them."""
    if isinstance(layer, SeriesLayer):
        return [series.variable for series in layer.series]
    return layer.weights
