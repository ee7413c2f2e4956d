"""One training step and one evaluation step as graphs over all replicas.

With JAX they are the programs of jax_steps.py, on one device.
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
    """Returns the gradient of this replica's part of the batch, and its sums.

    The gradient is that of `training_loss` / batch_size + weight_decay / 2 |theta|^2,
    and of the net's `penalty`, where batch_size counts all replicas, whose gradients
    the optimizer sums. Weights that nothing reads, not even a regularizer, do not
    decay.

    Args:
        net: A built net; its batch norms see the batch.
        images, labels: This replica's part of the batch.
        batch_size: Examples over all replicas.
        weight_decay: L2 weight decay per update, 0 for none.
        weights: theta, if it is more than the net's trainable variables.
        settings: See `training_loss`.

    Returns:
        (gradients, (sum of losses, correct, examples, squared norm of the gradient)).
    """
    weights = net.trainable_variables if weights is None else weights
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    with tf.GradientTape() as tape:
        total, losses, logits, penalty = training_loss(net, images, labels, **settings)
        loss = total / batch_size
        if penalty is not None:
            loss = loss + ops.cast(penalty, loss.dtype) / replicas
    found = tape.gradient(loss, [w.value for w in weights])
    share = weight_decay / replicas
    found = [
        ops.zeros_like(w.value) if g is None else g + share * w.value if share else g
        for g, w in zip(found, weights, strict=True)
    ]
    # One kernel per gradient; squares and their sums would be several.
    halves = [tf.nn.l2_loss(tf.cast(g, tf.float32)) for g in found]
    squares = 2 * tf.add_n(halves)
    return found, ops.stack([*sums(losses, logits, labels), squares])


def training_program(net, optimizer, strategy, jit_compile=False, **settings):
    """Returns one update as a graph over all replicas.

    Args:
        net: A built net.
        optimizer: Built on the net's trainable variables.
        strategy: The strategy that both live in.
        jit_compile: Whether XLA compiles the graph.
        settings: See `gradients`.

    Returns:
        Function (images, labels, flag) -> array of four sums over the replicas: the
        first three of `gradients`, and the sum of the flags, from which every worker
        learns whether one of them raised it. If the loss or the norm of the gradient is
        non-finite, the weights and the optimizer do not change and the first sum is
        non-finite.
    """
    if (jax_steps := _of_jax()) is not None:
        return jax_steps.training_program(net, optimizer, **settings)

    def part(images, labels, flag):
        found, totals = gradients(net, images, labels, **settings)
        return found, tf.concat([totals, [flag]], axis=0)

    def applied(found, loss):
        strategy.run(lambda g: optimizer.apply(g), args=(found,))
        return tf.identity(loss)

    # Without AutoGraph, which spends half a second on rewriting all the sources that it
    # meets; Keras layers do without it too.
    @tf.function(autograph=False, jit_compile=jit_compile or None)
    def update(images, labels, flag):
        found, totals = strategy.run(part, args=(images, labels, flag))
        loss, correct, count, squares, flags = tf.unstack(
            strategy.reduce(tf.distribute.ReduceOp.SUM, totals, axis=None)
        )
        # Across the replicas: conditions are impossible where they update variables.
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
    """Returns `eval_step` as a graph over all replicas.

    Returns:
        Function (images, labels, flag) -> array of its sums and the sum of the flags,
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
    """Imports the JAX programs if Keras runs on JAX; otherwise returns None."""
    if keras.backend.backend() != "jax":
        return None
    from trainers import jax_steps

    return jax_steps


def evaluate(net, batches) -> dict[str, float]:
    """Returns loss and accuracy over all examples; the last batch may be smaller.

    Args:
        net: A built net.
        batches: Data set of (images, labels).

    Returns:
        `{"loss": mean, "accuracy": fraction in [0, 1]}`.
    """
    return scorer(net)(batches)


def scorer(net):
    """Returns `evaluate` as a function of the batches; its graph is traced once."""
    strategy = tf.distribute.get_strategy()
    program = evaluation_program(net, strategy)
    return lambda batches: evaluate_with(program, batches, strategy)


def accuracy_of(scores: dict[str, float]) -> float:
    """Returns the accuracy; NaN for non-finite logits, whose argmax is a mere guess."""
    return scores["accuracy"] if math.isfinite(scores["loss"]) else math.nan


def evaluate_with(
    score, batches, strategy, asked=lambda: False
) -> dict[str, float] | None:
    """Does what `evaluate` does, with a graph already made by `evaluation_program`.

    Args:
        score: The graph.
        batches: See `evaluate`.
        strategy: See `evaluation_program`.
        asked: Function: whether this worker is asked to stop. If one is, all of them
            stop after the same batch and the result is None. Default: never.
    """
    totals = np.zeros(3)
    for images, labels in strategy.experimental_distribute_dataset(batches):
        *sums, stop = score(images, labels, asked())
        if stop:
            return None
        totals += sums
    loss, correct, count = totals.tolist()
    return {"loss": loss / count, "accuracy": correct / count}
