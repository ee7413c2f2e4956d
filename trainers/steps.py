"""One step of training, one of evaluation, as graphs over all replicas."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops


def loss_per_example(labels, logits, label_smoothing=0.0):
    """Cross entropy (batch,) of integer labels, smoothed towards uniform."""
    return _cross_entropy(_targets(labels, logits, label_smoothing), logits)


def _targets(labels, logits, label_smoothing):
    targets = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    return targets


def _cross_entropy(targets, logits):
    return keras.losses.categorical_crossentropy(targets, logits, from_logits=True)


# What the members of an any-depth net learn from: (targets of the net, its logits).
MEMBER_TARGETS = {
    "distilled": lambda targets, logits: ops.softmax(ops.stop_gradient(logits)),
    "labels": lambda targets, logits: targets,
}


def gradients(
    net,
    images,
    labels,
    *,
    batch_size,
    weight_decay,
    smoothing,
    members=(),
    member_weight=0.0,
    member_targets="distilled",
):
    """The gradient of this replica's part of the batch, and its sums.

    The gradient is that of sum(loss) / batch_size + weight_decay / 2 |theta|^2, where
    batch_size counts all replicas, whose gradients the optimizer sums, and
    loss = H(labels, net) + member_weight sum_m H(targets, member m), H cross entropy.
    Weights that nothing read do not decay.

    Args:
        net: A built net; its batch norms see the batch.
        images, labels: This replica's part of the batch.
        batch_size: Examples over all replicas.
        weight_decay: L2 weight decay per update, 0 for none.
        smoothing: Label smoothing.
        members: Manifestations of the net that learn beside it.
        member_weight: Of the loss of each.
        member_targets: A key of `MEMBER_TARGETS`.

    Returns:
        (gradients, (sum of losses, correct, examples, squared norm of the gradient)).
    """
    weights = net.trainable_variables
    with tf.GradientTape() as tape:
        logits = net(images, training=True)
        targets = _targets(labels, logits, smoothing)
        losses = _cross_entropy(targets, logits)
        total = ops.sum(losses)
        if members:
            targets = MEMBER_TARGETS[member_targets](targets, logits)
        for member in members:
            short = _cross_entropy(targets, member(images, training=True))
            total = total + member_weight * ops.sum(short)
        loss = total / batch_size
    found = tape.gradient(loss, [w.value for w in weights])
    share = weight_decay / tf.distribute.get_strategy().num_replicas_in_sync
    found = [
        ops.zeros_like(w.value) if g is None else g + share * w.value if share else g
        for g, w in zip(found, weights, strict=True)
    ]
    # One kernel a gradient, where squares and their sums are several.
    halves = [tf.nn.l2_loss(tf.cast(g, tf.float32)) for g in found]
    squares = 2 * tf.add_n(halves)
    return found, ops.stack([*_sums(losses, logits, labels), squares])


def eval_step(net, images, labels):
    """(sum of losses, correct, examples) of one batch; changes nothing."""
    logits = net(images, training=False)
    return ops.stack(_sums(loss_per_example(labels, logits), logits, labels))


def _sums(losses, logits, labels):
    correct = ops.cast(ops.equal(ops.argmax(logits, axis=-1), labels), "float32")
    losses = ops.cast(losses, "float32")
    return ops.sum(losses), ops.sum(correct), ops.cast(ops.size(labels), "float32")


def training_program(net, optimizer, strategy, jit_compile=False, **settings):
    """One update as a graph over all replicas.

    Args:
        net: A built net.
        optimizer: Built on the net's trainable variables.
        strategy: Where both live.
        jit_compile: Whether XLA compiles the graph.
        settings: See `gradients`.

    Returns:
        Function of (images, labels, flag) to an array of four sums over the replicas,
        those of `gradients` but the last, which is that of the flags: every worker
        hears whether one of them raised it. Where the loss or the norm of the gradient
        is not finite the weights and the optimizer stay as they are, and the first sum
        is not finite.
    """

    def part(images, labels, flag):
        found, sums = gradients(net, images, labels, **settings)
        return found, tf.concat([sums, [flag]], axis=0)

    def applied(found, loss):
        strategy.run(lambda g: optimizer.apply(g), args=(found,))
        return tf.identity(loss)

    # Without AutoGraph, which rewrites the sources of all that it meets for half a
    # second; Keras layers do without it too.
    @tf.function(autograph=False, jit_compile=jit_compile or None)
    def update(images, labels, flag):
        found, sums = strategy.run(part, args=(images, labels, flag))
        loss, correct, count, squares, flags = tf.unstack(
            strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        )
        # Across the replicas: where they update variables there is no condition.
        # Squares overflow long before a sum of gradients over replicas does.
        loss = tf.cond(
            tf.math.is_finite(loss + squares),
            lambda: applied(found, loss),
            lambda: tf.constant(math.nan, loss.dtype),
        )
        return tf.stack([loss, correct, count, flags])

    return lambda images, labels, flag=False: update(
        images, labels, tf.constant(float(flag))
    ).numpy()


def evaluation_program(net, strategy):
    """`eval_step` as a graph over all replicas.

    Returns:
        Function of (images, labels, flag) to an array: its sums, and that of the flags,
        as for `training_program`.
    """

    def part(images, labels, flag):
        return tf.concat([eval_step(net, images, labels), [flag]], axis=0)

    @tf.function(autograph=False)
    def score(images, labels, flag):
        sums = strategy.run(part, args=(images, labels, flag))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    return lambda images, labels, flag=False: score(
        images, labels, tf.constant(float(flag))
    ).numpy()


def evaluate(net, batches) -> dict[str, float]:
    """Loss and accuracy over all examples; the last batch may be smaller.

    Args:
        net: A built net.
        batches: Data set of (images, labels).

    Returns:
        `{"loss": mean, "accuracy": fraction in [0, 1]}`.
    """
    return scorer(net)(batches)


def scorer(net):
    """`evaluate` as a function of the batches, whose graph is traced once."""
    strategy = tf.distribute.get_strategy()
    program = evaluation_program(net, strategy)
    return lambda batches: evaluate_with(program, batches, strategy)


def accuracy_of(scores: dict[str, float]) -> float:
    """An accuracy; NaN where logits are not finite, whose largest is a mere guess."""
    return scores["accuracy"] if math.isfinite(scores["loss"]) else math.nan


def evaluate_with(
    score, batches, strategy, asked=lambda: False
) -> dict[str, float] | None:
    """`evaluate` with a graph that `evaluation_program` has made already.

    Args:
        score, batches, strategy: As there.
        asked: Whether this worker is asked to stop. Where one is, all of them stop
            after the same batch, and the result is None. Default: never.
    """
    totals = np.zeros(3)
    for images, labels in strategy.experimental_distribute_dataset(batches):
        *sums, stop = score(images, labels, asked())
        if stop:
            return None
        totals += sums
    loss, correct, count = totals.tolist()
    return {"loss": loss / count, "accuracy": correct / count}
