"""The training loss: cross entropies of a net and of its members."""

import keras
from keras import ops

from cnet_tf.kernels import wide


def loss_per_example(labels, logits):
    """Returns the cross entropy (batch,) of integer labels."""
    return _cross_entropy(_targets(labels, logits), logits)


def _targets(labels, logits, smoothing=0.0):
    targets = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if smoothing:
        targets = targets * (1 - smoothing) + smoothing / logits.shape[-1]
    return targets


def _cross_entropy(targets, logits):
    return keras.losses.categorical_crossentropy(targets, logits, from_logits=True)


# What members of an any-depth net learn from: functions of (net's targets, its logits).
MEMBER_TARGETS = {
    "distilled": lambda targets, logits: _known(logits),
    "labels": lambda targets, logits: targets,
    "mixed": lambda targets, logits: (targets + _known(logits)) / 2,
}


def _known(logits):
    """Returns the net's probabilities, without gradients from its members."""
    return ops.softmax(ops.stop_gradient(logits))


def training_loss(
    net,
    images,
    labels,
    *,
    smoothing,
    members=(),
    member_weight=0.0,
    member_targets="distilled",
):
    """Computes the training loss of a batch.

    It is the sum over the batch of

        H(labels, net) + member_weight sum_m H(targets, member m),

    where H is the cross entropy. Batch norms see the batch.

    Args:
        net: A built net.
        images, labels: The batch.
        smoothing: Label smoothing.
        members: Manifestations of the net that train together with it.
        member_weight: Weight of the loss of each member.
        member_targets: A key of `MEMBER_TARGETS`.

    Returns:
        (the sum, H(labels, net) of each example, logits of the net, `penalty`).
    """
    logits = _logits(net, images, training=True)
    added = penalty(net)  # Now, as calls of members forget it.
    targets = _targets(labels, logits, smoothing)
    losses = _cross_entropy(targets, logits)
    total = ops.sum(losses)
    if members:
        targets = MEMBER_TARGETS[member_targets](targets, logits)
    for member in members:
        short = _cross_entropy(targets, _logits(member, images, training=True))
        total = total + member_weight * ops.sum(short)
    return total, losses, logits, added


def _logits(net, images, training):
    """Returns the logits, in at least float32, as sums of their powers are."""
    logits = net(images, training=training)
    return ops.cast(logits, wide(ops.dtype(logits)))


def penalty(net):
    """Returns what the last call of a net adds to its loss, or None.

    These are the regularizers of its layers, and losses that they add themselves.
    """
    return sum(net.losses) if net.losses else None


def sums(losses, logits, labels) -> tuple:
    """Returns (sum of losses, correct, examples) of a batch, in float32."""
    correct = ops.cast(ops.equal(ops.argmax(logits, axis=-1), labels), "float32")
    losses = ops.cast(losses, "float32")
    return ops.sum(losses), ops.sum(correct), ops.cast(ops.size(labels), "float32")


def eval_step(net, images, labels):
    """Returns (sum of losses, correct, examples) of a batch; changes nothing."""
    logits = _logits(net, images, training=False)
    return ops.stack(sums(loss_per_example(labels, logits), logits, labels))
