"""One step of training, one of evaluation: pure in (net, optimizer, batch)."""

import keras
import tensorflow as tf
from keras import ops


def loss_per_example(labels, logits, label_smoothing=0.0):
    """Cross entropy (batch,) of integer labels, smoothed towards uniform."""
    targets = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    return keras.losses.categorical_crossentropy(targets, logits, from_logits=True)


def train_step(net, optimizer, images, labels, *, batch_size, weight_decay, smoothing):
    """One update; returns (sum of losses, correct, examples) of this replica's part.

    The gradient is that of sum(loss) / batch_size + weight_decay / 2 |theta|^2, where
    batch_size counts all replicas, whose gradients the optimizer sums.

    Args:
        net: A built net.
        optimizer: Built on the net's trainable variables.
        images, labels: This replica's part of the batch.
        batch_size: Examples over all replicas.
        weight_decay: L2 weight decay per update, 0 for none.
        smoothing: Label smoothing.
    """
    weights = net.trainable_variables
    with tf.GradientTape() as tape:
        logits = net(images, training=True)
        losses = loss_per_example(labels, logits, smoothing)
        loss = ops.sum(losses) / batch_size
    gradients = tape.gradient(loss, [w.value for w in weights])
    if weight_decay:
        share = weight_decay / tf.distribute.get_strategy().num_replicas_in_sync
        gradients = [
            g + share * w.value for g, w in zip(gradients, weights, strict=True)
        ]
    optimizer.apply(gradients, weights)
    return _sums(losses, logits, labels)


def eval_step(net, images, labels):
    """(sum of losses, correct, examples) of one batch; changes nothing."""
    logits = net(images, training=False)
    return _sums(loss_per_example(labels, logits), logits, labels)


def _sums(losses, logits, labels):
    correct = ops.cast(ops.equal(ops.argmax(logits, axis=-1), labels), "float32")
    return ops.sum(losses), ops.sum(correct), ops.cast(ops.size(labels), "float32")


def distributed(step, strategy, jit_compile=False):
    """`step(images, labels)` as one graph over all replicas, its results summed."""

    @tf.function(jit_compile=jit_compile or None, reduce_retracing=False)
    def run(images, labels):
        sums = strategy.run(step, args=(images, labels))
        return [
            strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for value in sums
        ]

    return run


def evaluate(net, batches, strategy=None) -> dict[str, float]:
    """Loss and accuracy over all examples; the last batch may be smaller.

    Args:
        net: A built net.
        batches: Data set of (images, labels).
        strategy: Default: the current one.

    Returns:
        `{"loss": mean, "accuracy": fraction in [0, 1]}`.
    """
    strategy = strategy or tf.distribute.get_strategy()

    def step(images, labels):
        return eval_step(net, images, labels)

    return evaluate_with(distributed(step, strategy), batches, strategy)


def evaluate_with(run, batches, strategy) -> dict[str, float]:
    """`evaluate` with a graph that `distributed` has made already."""
    totals = [0.0, 0.0, 0.0]
    for images, labels in strategy.experimental_distribute_dataset(batches):
        totals = [
            t + float(v) for t, v in zip(totals, run(images, labels), strict=True)
        ]
    loss, correct, count = totals
    return {"loss": loss / count, "accuracy": correct / count}
