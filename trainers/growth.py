"""Growth of depth in the middle of a training: net and optimizer together."""

import dataclasses

import keras

from cnet_tf.refinement import refine, slots


@dataclasses.dataclass
class State:
    """What training changes; growth replaces both."""

    net: keras.Model
    optimizer: keras.optimizers.Optimizer


def grow(state: State, factor: int, momentum: str = "carry") -> State:
    """Refines net and optimizer together.

    Args:
        state: Before.
        factor: See `refine`.
        momentum: `"carry"` (default) refines the optimizer's slots like their weights,
            `"reset"` sets them to zero.

    Raises:
        RuntimeError: the optimizer does not hold exactly the new net's weights; it
            would go on training the old ones without a word.
    """
    net, optimizer = refine(state.net, factor, optimizer=state.optimizer)
    held = [id(v) for v in optimizer._trainable_variables]
    if held != [id(v) for v in net.trainable_variables]:
        raise RuntimeError("growth: the optimizer does not hold the new net's weights.")
    if momentum == "reset":
        for slot in slots(optimizer, net):
            slot.assign(keras.ops.zeros_like(slot))
    return State(net, optimizer)
