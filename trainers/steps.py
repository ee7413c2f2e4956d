"""One step of training, one of evaluation, as graphs over all replicas.

On JAX they are the programs of jax_steps.py, on one device.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from trainers.loss import eval_step, sums, training_loss


def gradients(
    net, images, labels, *, batch_size, weight_decay, weights=None, **settings
):
    """The gradient of this replica's part of the batch, and its sums.

    The gradient is that of `training_loss` / batch_size + weight_decay / 2 |theta|^2,
    where batch_size counts all replicas, whose gradients the optimizer sums. Weights
    that nothing read do not decay.

    Args:
        net: A built net; its batch norms see the batch.
        images, labels: This replica's part of the batch.
        batch_size: Examples over all replicas.
        weight_decay: L2 weight decay per update, 0 for none.
        weights: The theta, where it is more than the net's trainable variables.
        settings: See `training_loss`.

    Returns:
        (gradients, (sum of losses, correct, examples, squared norm of the gradient)).
    """
    weights = net.trainable_variables if weights is None else weights
    with tf.GradientTape() as tape:
        total, losses, logits = training_loss(net, images, labels, **settings)
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
    return found, ops.stack([*sums(losses, logits, labels), squares])


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
    if (jax_steps := _of_jax()) is not None:
        return jax_steps.training_program(net, optimizer, **settings)

    def part(images, labels, flag):
        found, totals = gradients(net, images, labels, **settings)
        return found, tf.concat([totals, [flag]], axis=0)

    def applied(found, loss):
        strategy.run(lambda g: optimizer.apply(g), args=(found,))
        return tf.identity(loss)

    # Without AutoGraph, which rewrites the sources of all that it meets for half a
    # second; Keras layers do without it too.
    @tf.function(autograph=False, jit_compile=jit_compile or None)
    def update(images, labels, flag):
        found, totals = strategy.run(part, args=(images, labels, flag))
        loss, correct, count, squares, flags = tf.unstack(
            strategy.reduce(tf.distribute.ReduceOp.SUM, totals, axis=None)
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
    if (jax_steps := _of_jax()) is not None:
        return jax_steps.evaluation_program(net)

    def part(images, labels, flag):
        return tf.concat([eval_step(net, images, labels), [flag]], axis=0)

    @tf.function(autograph=False)
    def score(images, labels, flag):
        totals = strategy.run(part, args=(images, labels, flag))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, totals, axis=None)

    return lambda images, labels, flag=False: score(
        images, labels, tf.constant(float(flag))
    ).numpy()


def _of_jax():
    """The programs of JAX where Keras runs on it, which needs JAX, or None."""
    if keras.backend.backend() != "jax":
        return None
    from trainers import jax_steps

    return jax_steps


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
