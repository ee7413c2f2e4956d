"""Batch norms of all replicas: each normalises by the moments of the whole batch.

With means m_r and variances v_r of equal parts,

    m = mean_r m_r,    v = mean_r v_r + mean_r (m_r - m)^2,

so the norms of R replicas compute what those of one device would. One exchange a norm
(Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance").
"""

import tensorflow as tf

from trainers.fused_norm import fused_batch_moments_norm


def synchronised_moments_norm(x, gamma, beta, epsilon):
    """The contract of `series_norm.batch_moments_norm`, x being a replica's part."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return fused_batch_moments_norm(x, gamma, beta, epsilon)
    moments = tf.stack(tf.nn.moments(x, axes=list(range(len(x.shape) - 1))))
    # Every replica adds its row to a table: gathering rows, TensorFlow first asks all
    # workers for their shapes.
    replicas = replica.num_replicas_in_sync
    row = tf.one_hot(replica.replica_id_in_sync_group, replicas, dtype=x.dtype)
    table = replica.all_reduce("SUM", tf.tensordot(row, moments, axes=0))
    means, variances = tf.unstack(table, axis=1)
    mean = tf.reduce_mean(means, axis=0)
    variance = tf.reduce_mean(variances + tf.square(means - mean), axis=0)
    y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
    return y, mean, variance
