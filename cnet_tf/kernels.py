"""Arithmetic that a backend has in one kernel, beside its plain form in `keras.ops`.

The rest of this package is backend-agnostic; this file alone asks which backend it runs
on.
"""

import keras
from keras import ops


def wide(*dtypes) -> str:
    """The type of arithmetic on values of these float types: float32 at least.

    `keras.backend.result_type` makes float32 of float64 but on TensorFlow.
    """
    found = map(keras.backend.standardize_dtype, dtypes)
    return "float64" if "float64" in found else "float32"


def mix(weights, values):
    """sum_j w_ij v_j: weights (n, m), values (m, ..), the result of their type."""
    values = ops.convert_to_tensor(values)
    weights = ops.cast(weights, values.dtype)
    if keras.backend.standardize_dtype(values.dtype) != "float64":
        return ops.tensordot(weights, values, axes=1)
    # Products of Keras, too, make float32 of float64 but on TensorFlow.
    ones = (1,) * (len(values.shape) - 1)
    return ops.sum(ops.reshape(weights, (*weights.shape, *ones)) * values, axis=1)


def normalize_batch(x, gamma, beta, epsilon, synchronized=False, mask=None):
    """Normalises x by its own moments over all axes but the last.

    y = gamma (x - m) / sqrt(v + epsilon) + beta

    Args:
        x: (.., channels), of any float type. Moments are taken in float32 at least, as
            those of half precision activations would lose their digits.
        gamma, beta: (channels,), of the type of the moments.
        epsilon: Added to the variance.
        synchronized: Whether m and v are those of the batch over all replicas. Default
            False: those of the replica's own part.
        mask: (..) booleans of the entries that count, or None for all of them.

    Returns:
        (y, m, v): y of the shape and type of x, biased moments of shape (channels,).
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    on_tensorflow = keras.backend.backend() == "tensorflow"
    if mask is None and on_tensorflow and _has_kernel(x, gamma, synchronized):
        y, mean, unbiased = _fused(x, gamma, beta, epsilon)
        # The kernel reports sum (x - mean)^2 / (n - 1) but divides by the biased one.
        count = ops.cast(ops.size(x) // x.shape[-1], "float32")
        return y, mean, unbiased * (ops.maximum(count - 1.0, 1.0) / count)
    x = ops.cast(x, wide(dtype, gamma.dtype))
    if mask is not None:
        moments = _masked_moments(x, mask)
    elif on_tensorflow and (replica := _replica(synchronized)):
        moments = _moments_of_replicas(x, replica)
    else:
        # With keras.distribution on JAX a program sees the whole batch anyway.
        moments = _moments(x)
    y = normalize(x, *moments, gamma, beta, epsilon)
    return ops.cast(y, dtype), *moments


def _moments(x):
    return ops.moments(x, axes=list(range(len(x.shape) - 1)))


def _masked_moments(x, mask):
    axes = list(range(len(x.shape) - 1))
    weight = ops.cast(mask, x.dtype)[..., None]
    weight = weight / ops.maximum(ops.sum(weight), 1)
    mean = ops.sum(weight * x, axis=axes)
    return mean, ops.sum(weight * ops.square(x - mean), axis=axes)


def normalize(x, mean, variance, gamma, beta, epsilon):
    """Normalises x along the last axis by given moments.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta

    Args:
        x: (.., channels), of any float type. Arithmetic is in float32 at least.
        mean, variance, gamma, beta: (channels,).
        epsilon: Added to the variance.

    Returns:
        y, of the shape and type of x.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    # Elsewhere plain operations are as fast, and converters of graphs know them.
    if dtype == "bfloat16" and keras.backend.backend() == "tensorflow":
        if _has_kernel(x, gamma, synchronized=False):
            return _fused(x, gamma, beta, epsilon, mean, variance)[0]
    x = ops.cast(x, wide(dtype, gamma.dtype))
    y = ops.batch_normalization(
        x, mean, variance, axis=-1, offset=beta, scale=gamma, epsilon=epsilon
    )
    return ops.cast(y, dtype)


def _replica(synchronized):
    """The context of a replica that takes its moments with others, or None."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context() if synchronized else None
    return replica if replica and replica.num_replicas_in_sync > 1 else None


def _has_kernel(x, gamma, synchronized) -> bool:
    import tensorflow as tf

    known = x.dtype in (tf.float32, tf.bfloat16) and gamma.dtype == tf.float32
    return known and len(x.shape) == 4 and not _replica(synchronized)


def _fused(x, gamma, beta, epsilon, *moments):
    """(y, mean, variance) by one kernel: moments, unless given, and normalisation.

    On two CPU cores a ResNet-20 step takes about two thirds of the time that it takes
    with passes of their own for mean, variance and normalisation; in bfloat16 casts
    around it would take another sixth, for the same bits.
    """
    import tensorflow as tf

    mean, variance = moments or [tf.constant([], tf.float32)] * 2
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=not moments,
    )[:3]


def _moments_of_replicas(x, replica):
    """Moments over all replicas, of equal parts with means m_r and variances v_r:

        m = mean_r m_r,    v = mean_r v_r + mean_r (m_r - m)^2.

    No cancellation where means are large, and one exchange.

    Reference: Chan, Golub, LeVeque 1983, "Algorithms for computing the sample
    variance".
    """
    import tensorflow as tf

    moments = tf.stack(_moments(x))
    # Each replica adds its row to a table: `all_gather` first asks all workers for
    # their shapes.
    replicas = replica.num_replicas_in_sync
    row = tf.one_hot(replica.replica_id_in_sync_group, replicas, dtype=x.dtype)
    table = replica.all_reduce("SUM", tf.tensordot(row, moments, axes=0))
    means, variances = tf.unstack(table, axis=1)
    mean = tf.reduce_mean(means, axis=0)
    return mean, tf.reduce_mean(variances + tf.square(means - mean), axis=0)


def repeat(times, body, start):
    """body(n - 1, .. body(1, body(0, start))), as one body in the graph.

    Args:
        times: n, a Python int.
        body: Function of the number of the repetition, a tensor, and of a nest of
            tensors, to a nest of the same shapes and types. Gradients pass through it.
        start: That nest at first.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Unlike `ops.fori_loop` with a bound, without which XLA has no gradients.
        return tf.while_loop(
            lambda i, _: i < times,
            lambda i, nest: (i + 1, body(i, nest)),
            (0, start),
            maximum_iterations=times,
        )[1]
    return ops.fori_loop(0, times, body, start)


def recompute(function, *tensors):
    """function(*tensors), which the backward pass computes again.

    Nothing that it makes on the way is kept. What it closes over gets no gradient.

    Args:
        function: Of float tensors to a tuple of float tensors; called twice.
        *tensors: Its arguments.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Of a variable among them the gradient would count twice.
        return tf.recompute_grad(function)(*map(tf.convert_to_tensor, tensors))
    if keras.backend.backend() == "jax":
        import jax

        return jax.checkpoint(function)(*tensors)
    if keras.backend.backend() == "torch":
        from torch.utils.checkpoint import checkpoint

        return checkpoint(function, *tensors, use_reentrant=False)
    raise ValueError(
        "recompute: expected the backend tensorflow, jax or torch. Received "
        f"{keras.backend.backend()!r}: leave it out."
    )


def add_bias(x, bias):
    """x + bias along the last axis.

    TensorFlow's `BiasAdd` has a gradient kernel of its own, where a broadcast addition
    sums over the other axes: 5 % of a training step on a CPU.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.bias_add(x, bias)
    return x + bias
