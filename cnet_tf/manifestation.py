"""Manifestations of a trained net: the same theta(t), another graph."""

import numpy as np
from keras import ops

from cnet_tf.net import Net, require_blocks
from cnet_tf.series_norm import SeriesBatchNormalization


def manifest(net: Net, scheme=None, steps=None) -> Net:
    """The net with another scheme or step count; both nets share their variables.

    Args:
        net: A `ContinuousNet` or `ContinuousClassifier`, built.
        scheme: A key of `SCHEMES`. Default: the net's own.
        steps: N >= 1, an int for all blocks or one a block. Default: the net's own.

    Raises:
        ValueError: the net is not built or has no continuous blocks, unknown scheme,
            bad steps.
    """
    require_blocks(net)
    config = net.get_config()
    config["scheme"] = scheme or config["scheme"]
    config["steps"] = config["steps"] if steps is None else steps
    twin = type(net)(**config, share=net)
    twin.build(net.get_build_config()["input_shape"])
    return twin


def recalibrate(net: Net, data) -> int:
    """Re-estimates the batch-norm statistics of a net on data, in place.

    The statistics become the mean over batches of the batch moments, seen through this
    manifestation of the net. Weights do not change, but nets that share variables with
    this one see the new statistics: copy them first (`statistics`) to restore them.

    Args:
        net: A built net.
        data: Iterable of batches of inputs, or of (inputs, labels) pairs.

    Returns:
        The number of batches.

    Raises:
        ValueError: the data are empty.
    """
    norms = normalizations(net)
    momenta = [norm.momentum for norm in norms]
    totals, batches = None, 0
    for norm in norms:
        norm.momentum = 0.0
    try:
        for batch in data:
            inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
            net(inputs, training=True)
            values = statistics(net)
            totals = values if totals is None else _add(totals, values)
            batches += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if batches == 0:
        raise ValueError("data: expected at least one batch. Received none.")
    restore_statistics(net, [total / batches for total in totals])
    return batches


def _add(left, right):
    return [a + b for a, b in zip(left, right, strict=True)]


def normalizations(net) -> list[SeriesBatchNormalization]:
    """All batch normalisations of a net."""
    return [
        layer
        for layer in net._flatten_layers()
        if isinstance(layer, SeriesBatchNormalization)
    ]


def statistics(net) -> list[np.ndarray]:
    """Copies of the moving statistics of a net."""
    return [np.array(ops.convert_to_numpy(v)) for v in _moving(net)]


def restore_statistics(net, values):
    """Puts moving statistics from `statistics` back."""
    for variable, value in zip(_moving(net), values, strict=True):
        variable.assign(value)


def _moving(net):
    # Not `non_trainable_variables`, which are all the weights of a frozen net.
    return [
        series.variable
        for norm in normalizations(net)
        for series in (norm.moving_mean, norm.moving_variance)
    ]
