"""Replaces blocks and layers of models, for manifestations and refinements.

Works on any functional or Sequential Keras model with `ContinuousBlock`s in it, also
within nested models.
"""

import functools

import keras

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.fresh_layer import fresh
from cnet_tf.model_graph import cloned, is_graph, layers_of
from cnet_tf.series import ParameterSeries
from cnet_tf.series_norm import SeriesBatchNormalization


def blocks_of(model) -> list[ContinuousBlock]:
    """Returns a model's continuous blocks, in order; none if its depth is fixed."""
    return [x for x in layers_of(model) if isinstance(x, ContinuousBlock)]


def normalizations(model) -> list:
    """Returns all batch norms of a model, along depth or Keras' own."""
    kinds = (SeriesBatchNormalization, keras.layers.BatchNormalization)
    return [layer for layer in layers_of(model) if isinstance(layer, kinds)]


def series_of(model) -> list[ParameterSeries]:
    """Returns the parameter series of a model's blocks, in order."""
    return [series for block in blocks_of(model) for series in block.series]


def chosen_blocks(model, names=None) -> list[ContinuousBlock]:
    """Returns the continuous blocks of a model, in order, or those with these names.

    Raises:
        ValueError: the model is subclassed, is not built, or has no such blocks.
    """
    if not is_graph(model):
        raise ValueError(
            "model: expected a functional or Sequential model. Received "
            f"{getattr(model, 'name', model)!r}, a {type(model).__name__}, whose "
            "layers Keras cannot rearrange: write it as a functional model."
        )
    if not model.built:
        raise ValueError(
            f"model: expected a built model. Received {model.name!r}: give it an "
            "`Input`, or call it, first."
        )
    blocks = blocks_of(model)
    if not blocks:
        raise ValueError(
            f"model: expected one with continuous blocks. Received {model.name!r}, "
            "whose depth is fixed."
        )
    if names is None:
        return blocks
    known = {block.name: block for block in blocks}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"blocks: expected names of {', '.join(known)}. Received {list(names)}."
        )
    return [known[name] for name in names]


def with_layers(model, replacements, share: bool):
    """Returns the model with some of its layers replaced.

    Args:
        model: A functional or Sequential model.
        replacements: `id` of a layer of the model -> function of that layer that
            returns the new one.
        share: Whether the other layers are the very same. Otherwise they are fresh ones
            of the same settings, with new weights.
    """
    made = {}

    def part(layer):
        if id(layer) not in made:
            made[id(layer)] = _part(layer)
        return made[id(layer)]

    def _part(layer):
        if id(layer) in replacements:
            return replacements[id(layer)](layer)
        replaced = any(id(x) in replacements for x in layers_of(layer))
        if is_graph(layer) and (replaced or not share):
            return cloned(layer, part)
        return layer if share else fresh(layer)

    new = part(model)
    if not share:
        # Configs do not record frozen nested models, nor layers frozen later.
        for old, twin in zip(layers_of(model), layers_of(new), strict=True):
            if twin.trainable != old.trainable:
                twin.trainable = old.trainable
    return new


def copied(part):
    """Returns a fresh layer, model or operation of the same settings; new weights."""
    if is_graph(part):
        return with_layers(part, {}, share=False)
    twin = fresh(part)
    if isinstance(part, keras.layers.Layer):
        twin.trainable = part.trainable
    return twin


def with_blocks(model, blocks, replace, share: bool):
    """Returns the model with some of its blocks replaced.

    Args:
        model: A functional or Sequential model.
        blocks: Blocks of the model.
        replace: Function of a block and its place in the list that returns a new block.
        share: See `with_layers`.

    Raises:
        ValueError: a block is within a layer that is not a model.
    """
    reached = set()

    def replaced(block, i):
        reached.add(id(block))
        return replace(block, i)

    replacements = {
        id(block): functools.partial(replaced, i=i) for i, block in enumerate(blocks)
    }
    new = with_layers(model, replacements, share)
    check_reached(blocks, reached)
    return new


def check_reached(blocks, reached):
    """Refuses blocks whose ids are not among those that were reached.

    Raises:
        ValueError: a block was not reached; names the first such block.
    """
    for block in blocks:
        if id(block) not in reached:
            raise ValueError(
                "net: expected blocks in models that Keras can rearrange. Received "
                f"{block.name!r} within another layer: use a functional model there."
            )
