"""Errors of a net in the limit of its equation, with batch norms re-estimated there.

`observed_order` keeps the moving statistics of a net. If the net learned its own step,
they describe states that occur at no other step, so its answers may get worse for that
reason alone. Any loss that remains with statistics of the limit is due to the field.
"""

import keras
import numpy as np
from keras import ops

from cnet_tf.from_residual import from_residual
from cnet_tf.manifestation import recalibrated
from cnet_tf.observed_order import Part, wrong_answers
from cnet_tf.surgery import blocks_of, with_blocks
from cnet_tf.sweep_plan import manifested
from cnet_tf.trajectory import TappedNet


def as_continuous(model) -> keras.Model:
    """Returns the model itself, or a plain residual one as a continuous net.

    Raises:
        ValueError: the model is neither (`from_residual`), its states are projected
            (`residual_chain`), which a block does not do, or units of one of its chains
            have different layers.
    """
    if blocks_of(model):
        return model
    chains = TappedNet(model).flows
    if any(chain.project for chain in chains):
        raise ValueError(
            f"expected sums without an activation after them. Received {model.name!r}, "
            "where an activation projects the states, which the steps of a block do "
            "not do."
        )
    net = from_residual(model)
    found, wanted = (
        [flow.steps for flow in flows] for flows in (blocks_of(net), chains)
    )
    if found != wanted:
        raise ValueError(
            f"expected units with the same layers in its chains of {wanted}. Received "
            f"{model.name!r}, in which {found} in a row are alike."
        )
    return net


def limit_errors(net, part: Part, batches, data, judge=wrong_answers) -> np.ndarray:
    """Returns the errors of the answers in the limit, (examples,).

    Args:
        net: The observed net, as a net with blocks; it is not modified.
        part: The part for the whole net: the last one of `observed_order.observe`.
        batches: The same pairs (inputs, labels) as for `observe`.
        data: Batches of training inputs, or of (inputs, labels) pairs, augmented as in
            training, on which the statistics are estimated.
        judge: As for `observe`.
    """
    finest = with_blocks(
        net,
        blocks_of(net),
        lambda block, i: manifested(block, *part.finest),
        share=True,
    )
    twin, found = recalibrated(finest, data), []
    for inputs, labels in batches:
        if labels is None:
            own = net(inputs, training=False)
            labels = np.argmax(ops.convert_to_numpy(own), axis=-1)
        found.append(judge([twin(inputs, training=False)], labels))
    return np.concatenate(found)
