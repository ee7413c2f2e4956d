"""A model that is a chain of parts, some of them continuous in depth."""

import numbers

import keras

from cnet_tf.continuous_block import ContinuousBlock


class Net(keras.Model):
    """Applies `parts` one after the other.

    Subclasses take plain constructor arguments, keep them for `get_config`, and hand
    over their layers.

    Args:
        parts: Layers in order.
        config: The constructor arguments of the subclass, all of them plain data.
    """

    # `compile` sets it; callbacks of custom loops look for it on uncompiled models.
    optimizer = None

    def __init__(self, parts, config, **kwargs):
        super().__init__(**kwargs)
        self.parts = parts
        # Keras wraps what it is given in tracking copies: complete the config first.
        steps = tuple(block.steps for block in self.blocks)
        self._config = {**config, "steps": steps} if steps else config

    @property
    def blocks(self):
        """The continuous blocks, in order."""
        return [part for part in self.parts if isinstance(part, ContinuousBlock)]

    @property
    def series(self):
        """All parameter series, in a fixed order."""
        return [s for part in self.parts for s in getattr(part, "series", ())]

    def build(self, input_shape):
        shape = tuple(input_shape)
        for part in self.parts:
            if not part.built:
                part.build(shape)
            shape = part.compute_output_shape(shape)

    def call(self, x, training=None):
        # By name: Keras' `stateless_call`, which JAX trains with, hands nothing down.
        for part in self.parts:
            x = part(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        for part in self.parts:
            input_shape = part.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        return {**super().get_config(), **self._config}


def require_blocks(net: Net):
    """Refuses what has no depth to change.

    Raises:
        ValueError: the net has no continuous blocks, or is not built.
    """
    if not net.blocks:
        raise ValueError(
            f"net: expected one with continuous blocks. Received {net.name!r}, a "
            f"{type(net).__name__}, whose depth is fixed."
        )
    if not net.built:
        raise ValueError(
            f"net: expected a built net. Received {net.name!r}: call it, or build it, "
            "first."
        )


def require_all(blocks):
    """Refuses names of blocks: a net of this package has one setting for all of them.

    Raises:
        ValueError: there are any.
    """
    if blocks is not None:
        raise ValueError(
            "blocks: expected none for a net of this package, whose blocks share their "
            f"scheme and basis. Received {list(blocks)}: give one number a block."
        )


def remanifested(parts, scheme, steps, horizon, restriction):
    """The same parts, with new blocks around the rates of the old ones."""
    steps = iter(steps)
    return [
        ContinuousBlock(
            part.rate,
            scheme=scheme,
            steps=next(steps),
            horizon=horizon,
            restriction=restriction,
            name=part.name,
            dtype=part.dtype_policy,
        )
        if isinstance(part, ContinuousBlock)
        else part
        for part in parts
    ]


def per_block(name, value, count):
    """One number for every block: a single one is repeated, None stays None.

    Raises:
        ValueError: a sequence of another length than there are blocks.
    """
    if value is None or isinstance(value, numbers.Real):
        return (value,) * count
    if len(value) != count:
        raise ValueError(
            f"{name}: expected a number or {count} of them, one a block. "
            f"Received {value!r}."
        )
    return tuple(value)
