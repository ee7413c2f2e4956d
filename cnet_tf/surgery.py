"""Models with other blocks: what manifestations and refinements are made of.

Any functional or Sequential Keras model with `ContinuousBlock`s in it, models within it
included.
"""

import functools

import keras

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.fresh_layer import fresh
from cnet_tf.model_graph import cloned, is_graph, layers_of
from cnet_tf.series import ParameterSeries
from cnet_tf.series_norm import SeriesBatchNormalization


def blocks_of(model) -> list[ContinuousBlock]:
    """The continuous blocks of a model, in order; none of one whose depth is fixed."""
    return [x for x in layers_of(model) if isinstance(x, ContinuousBlock)]


def normalizations(model) -> list:
    """All batch normalisations of a model, along depth or Keras' own."""
    kinds = (SeriesBatchNormalization, keras.layers.BatchNormalization)
    return [layer for layer in layers_of(model) if isinstance(layer, kinds)]


def series_of(model) -> list[ParameterSeries]:
    """The parameter series of a model's blocks, in order."""
    return [series for block in blocks_of(model) for series in block.series]


def chosen_blocks(model, names=None) -> list[ContinuousBlock]:
    """The continuous blocks of a model, in order, or those of these names.

    Raises:
        ValueError: the model is a subclassed one, is not built, or has no such blocks.
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
    """The model with some of its layers replaced.

    Args:
        model: A functional or Sequential model.
        replacements: For the `id` of a layer of it, a function of that layer to the new
            one.
        share: Whether the other layers are the very same, or fresh ones of the same
            settings, whose weights are then new.
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
        # A frozen model inside, or what was frozen after it was made, is in no config.
        for old, twin in zip(layers_of(model), layers_of(new), strict=True):
            if twin.trainable != old.trainable:
                twin.trainable = old.trainable
    return new


def copied(part):
    """A fresh layer, model or operation of the same settings; weights are new."""
    if is_graph(part):
        return with_layers(part, {}, share=False)
    twin = fresh(part)
    if isinstance(part, keras.layers.Layer):
        twin.trainable = part.trainable
    return twin


def with_blocks(model, blocks, replace, share: bool):
    """The model with some of its blocks replaced.

    Args:
        model: A functional or Sequential model.
        blocks: Blocks of it.
        replace: Function of one of them and its place in the list to a new block.
        share: See `with_layers`.

    Raises:
        ValueError: a block is within a layer that is no model.
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
        ValueError: names the first of them.
    """
    for block in blocks:
        if id(block) not in reached:
            raise ValueError(
                "net: expected blocks in models that Keras can rearrange. Received "
                f"{block.name!r} within another layer: use a functional model there."
            )
