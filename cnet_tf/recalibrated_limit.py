"""The net in the limit of its equation, its batch norms re-estimated there.

`observed_order` keeps the statistics that a net has. Those of a net that learned its
own step are of states that it does not meet elsewhere, so its answers may get worse for
that alone. What is still lost with statistics of the limit is lost by the field.
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
    """The model, or what a plain residual one is as a continuous net.

    Raises:
        ValueError: it is none (`from_residual`), or its states are projected
            (`residual_chain`), as those of a block are not.
    """
    if blocks_of(model):
        return model
    chains = TappedNet(model).flows
    if any(chain.project for chain in chains):
        raise ValueError(
            f"expected sums that no activation follows. Received {model.name!r}, whose "
            "states an activation projects, which steps of a block do not do."
        )
    net = from_residual(model)
    found, wanted = (
        [flow.steps for flow in flows] for flows in (blocks_of(net), chains)
    )
    if found != wanted:
        raise ValueError(
            f"expected units of equal layers in its chains of {wanted}. Received "
            f"{model.name!r}, in which {found} in a row are alike."
        )
    return net


def limit_errors(net, part: Part, batches, data, judge=wrong_answers) -> np.ndarray:
    """The errors of the answers there, (examples,).

    Args:
        net: What was observed, as a net with blocks; left as it is.
        part: The whole of it, as observed: the last of `observed_order.observe`.
        batches: The same pairs (inputs, labels).
        data: Batches of training inputs, or of (inputs, labels) pairs, augmented as in
            training, to estimate statistics on.
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
