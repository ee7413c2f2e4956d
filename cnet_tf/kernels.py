"""Arithmetic for which a backend has one kernel, and its plain form in `keras.ops`.

The rest of this package is backend-agnostic; only this file asks which backend it runs
on.
"""

import keras
from keras import ops


def wide(*dtypes) -> str:
    """Returns the type for arithmetic on these float types: at least float32.

    `keras.backend.result_type` turns float64 into float32, except on TensorFlow.
    """
    found = map(keras.backend.standardize_dtype, dtypes)
    return "float64" if "float64" in found else "float32"


def mix(weights, values):
    """Returns sum_j w_ij v_j: weights (n, m), values (m, ..), in the values' type."""
    values = ops.convert_to_tensor(values)
    weights = ops.cast(weights, values.dtype)
    if keras.backend.standardize_dtype(values.dtype) != "float64":
        return ops.tensordot(weights, values, axes=1)
    # Keras' products also turn float64 into float32, except on TensorFlow.
    ones = (1,) * (len(values.shape) - 1)
    return ops.sum(ops.reshape(weights, (*weights.shape, *ones)) * values, axis=1)


def normalize_batch(x, gamma, beta, epsilon, synchronized=False, mask=None):
    """Normalises x by its own moments over all axes but the last.

    y = gamma (x - m) / sqrt(v + epsilon) + beta

    Args:
        x: (.., channels), of any float type. Moments are computed in at least float32,
            because they would lose digits in half precision.
        gamma, beta: (channels,), of the type of the moments.
        epsilon: Added to the variance.
        synchronized: Whether m and v are those of the batch over all replicas. Default
            False: those of the replica's own part.
        mask: (..) booleans, True for entries that count; or None, if all do.

    Returns:
        (y, m, v): y of the shape and type of x, biased moments of shape (channels,).
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    on_tensorflow = keras.backend.backend() == "tensorflow"
    if mask is None and on_tensorflow and _has_kernel(x, gamma, synchronized):
        y, mean, unbiased = _fused(x, gamma, beta, epsilon)
        # The kernel reports sum (x - mean)^2 / (n - 1), but normalises by the biased
        # variance.
        count = ops.cast(ops.size(x) // x.shape[-1], "float32")
        return y, mean, unbiased * (ops.maximum(count - 1.0, 1.0) / count)
    x = ops.cast(x, wide(dtype, gamma.dtype))
    if mask is not None:
        moments = _masked_moments(x, mask)
    elif on_tensorflow and (replica := _replica(synchronized)):
        moments = _moments_of_replicas(x, replica)
    else:
        # With keras.distribution on JAX, a program sees the whole batch anyway.
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
        x: (.., channels), of any float type. Arithmetic is in at least float32.
        mean, variance, gamma, beta: (channels,).
        epsilon: Added to the variance.

    Returns:
        y, of the shape and type of x.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    # Elsewhere plain operations are as fast, and graph converters know them.
    if dtype == "bfloat16" and keras.backend.backend() == "tensorflow":
        if _has_kernel(x, gamma, synchronized=False):
            return _fused(x, gamma, beta, epsilon, mean, variance)[0]
    x = ops.cast(x, wide(dtype, gamma.dtype))
    y = ops.batch_normalization(
        x, mean, variance, axis=-1, offset=beta, scale=gamma, epsilon=epsilon
    )
    return ops.cast(y, dtype)


def _replica(synchronized):
    """Returns the context of a replica that shares moments with others, or None."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context() if synchronized else None
    return replica if replica and replica.num_replicas_in_sync > 1 else None


def _has_kernel(x, gamma, synchronized) -> bool:
    import tensorflow as tf

    known = x.dtype in (tf.float32, tf.bfloat16) and gamma.dtype == tf.float32
    return known and len(x.shape) == 4 and not _replica(synchronized)


def _fused(x, gamma, beta, epsilon, *moments):
    """Computes (y, mean, variance) in one kernel; takes mean and variance if given.

    On two CPU cores a ResNet-20 step takes about two thirds of the time it takes with
    separate passes for mean, variance and normalisation. In bfloat16, casts around the
    kernel would take another sixth, for the same bits.
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
    """Computes moments over all replicas from equal parts with moments m_r and v_r:

        m = mean_r m_r,    v = mean_r v_r + mean_r (m_r - m)^2.

    There is no cancellation where means are large, and only one exchange.

    Reference: Chan, Golub, LeVeque 1983, "Algorithms for computing the sample
    variance".
    """
    import tensorflow as tf

    moments = tf.stack(_moments(x))
    # Each replica adds its row to a table, because `all_gather` would first ask all
    # workers for their shapes.
    replicas = replica.num_replicas_in_sync
    row = tf.one_hot(replica.replica_id_in_sync_group, replicas, dtype=x.dtype)
    table = replica.all_reduce("SUM", tf.tensordot(row, moments, axes=0))
    means, variances = tf.unstack(table, axis=1)
    mean = tf.reduce_mean(means, axis=0)
    return mean, tf.reduce_mean(variances + tf.square(means - mean), axis=0)


def repeat(times, body, start):
    """Returns body(n - 1, .. body(1, body(0, start))), with one body in the graph.

    Args:
        times: n, a Python int.
        body: Maps the number of the repetition, a tensor, and a nest of tensors to a
            nest of the same shapes and types. Gradients pass through it.
        start: The initial nest.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Unlike `ops.fori_loop`, this has a bound, without which XLA has no gradients.
        return tf.while_loop(
            lambda i, _: i < times,
            lambda i, nest: (i + 1, body(i, nest)),
            (0, start),
            maximum_iterations=times,
        )[1]
    return ops.fori_loop(0, times, body, start)


def recompute(function, *tensors):
    """Returns function(*tensors), which the backward pass computes again.

    No intermediate results are kept. What the function closes over gets no gradient.

    Args:
        function: Maps float tensors to a tuple of float tensors; called twice.
        *tensors: Its arguments.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # The gradient of a variable among the tensors would count twice.
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
    """Returns x + bias along the last axis.

    TensorFlow's `BiasAdd` has a gradient kernel of its own, whereas a broadcast
    addition sums over the other axes: 5 % of a training step on a CPU.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.bias_add(x, bias)
    return x + bias
