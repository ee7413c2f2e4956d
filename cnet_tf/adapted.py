"""State that `adapt` gives preprocessing layers besides their variables.

Keras' `Normalization` computes with tensors that it derives from its variables when it
is adapted or loaded from a Keras file. Lookups keep their vocabulary in a table that is
in no variable and no config.
"""

import keras

from cnet_tf.fresh_layer import LOOKUPS
from cnet_tf.model_graph import layers_of


def settle(model):
    """Makes the layers of a model compute with the values assigned to its variables."""
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def check_described(layer):
    """Refuses a layer whose config does not tell what it was adapted to.

    Raises:
        ValueError: it is a lookup without a vocabulary among its arguments; names it.
    """
    if isinstance(layer, LOOKUPS) and layer.get_config()["vocabulary"] is None:
        raise ValueError(
            f"net: expected lookups with a vocabulary as an argument. Received "
            f"{layer.name!r}, which was adapted, so its config lacks the vocabulary: "
            "give vocabulary=layer.get_vocabulary() where the layer is made, or leave "
            "it outside the net."
        )
