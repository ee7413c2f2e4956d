"""Batch normalisation along depth: gamma(t), beta(t) and moving statistics as series.

    y = gamma(t) (x - mu) / sqrt(sigma^2 + epsilon) + beta(t)

In training mu and sigma^2 are the moments of the batch. The moving statistics that
replace them at inference are series too, piecewise constant on the cells of the basis
whatever the basis of gamma and beta is: averages of positive variances are positive, so
refinement, projection and averaging over a step can never give a negative one, which
hats or polynomials do not promise.
"""

import keras
import numpy as np
from keras import ops

from cnet_tf.basis import get_basis
from cnet_tf.series import SeriesLayer, constant_function, surface


def batch_moments_norm(x, gamma, beta, epsilon):
    """Normalises x by its own moments over all axes but the last.

    Args:
        x: (.., channels), float32 or float64.
        gamma, beta: (channels,).
        epsilon: Added to the variance.

    Returns:
        (y, mean, variance): y of the shape of x, biased moments of shape (channels,).
    """
    mean, variance = ops.moments(x, axes=list(range(len(x.shape) - 1)))
    y = ops.batch_normalization(
        x, mean, variance, axis=-1, offset=beta, scale=gamma, epsilon=epsilon
    )
    return y, mean, variance


# The arithmetic of the training branch; a program that knows its backend may put a
# fused kernel with the same contract here (trainers/fused_norm.py does).
training_kernel = batch_moments_norm


@keras.saving.register_keras_serializable("cnet_tf")
class SeriesBatchNormalization(SeriesLayer):
    """y = gamma(t) (x - mu(t)) / sqrt(sigma^2(t) + epsilon) + beta(t), over channels.

    One forward pass may evaluate one cell several times: every stage normalises by its
    own batch, and the pass then updates each cell once, with the average over the
    evaluations that read it, weighted by how much they did:

        M_k <- momentum M_k + (1 - momentum) sum_i w_ik m_i / sum_i w_ik.

    Cells that no evaluation read keep their statistics.

    Args:
        momentum: Of the moving statistics. Default 0.9, which PyTorch calls 0.1.
        epsilon: Added to the variance. Default 1e-5.
        basis, nodes: See `SeriesLayer`.

    Reference: Ioffe and Szegedy 2015, arXiv 1502.03167.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        cells = get_basis("constant", self.basis.cells)
        frozen = {"trainable": False, "autocast": False, "aggregation": "mean"}
        self.gamma = self.add_series(
            "gamma", shape, constant_function(1, self.basis), autocast=False
        )
        self.beta = self.add_series("beta", shape, "zeros", autocast=False)
        self.moving_mean = self.add_series(
            "moving_mean", shape, "zeros", cells, **frozen
        )
        self.moving_variance = self.add_series(
            "moving_variance", shape, "ones", cells, **frozen
        )

    def call(self, x, depth=None, training=None):
        alone = depth is None
        depth = depth or surface()
        gamma, beta = depth(self.gamma), depth(self.beta)
        # Moments of half precision activations would lose their digits.
        wide = ops.cast(x, gamma.dtype)
        if training and self.trainable:
            y, mean, variance = training_kernel(wide, gamma, beta, self.epsilon)
            row = depth.row(self.moving_mean.basis)
            depth.forward.observe(self, row, mean, variance)
        else:
            y = ops.batch_normalization(
                wide,
                depth(self.moving_mean),
                depth(self.moving_variance),
                axis=-1,
                offset=beta,
                scale=gamma,
                epsilon=self.epsilon,
            )
        if alone:
            depth.forward.finish()
        return ops.cast(y, x.dtype)

    def update(self, rows, means, variances):
        """Moves the statistics towards the moments of one pass's evaluations."""
        weights = np.array(rows, dtype="float64").T  # (cells, evaluations)
        total = weights.sum(axis=1, keepdims=True)
        read = total > 0
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=read)
        keep = np.where(read, self.momentum, 1.0)
        for series, moments in (
            (self.moving_mean, means),
            (self.moving_variance, variances),
        ):
            moving = series.variable
            moments = ops.stack([ops.cast(m, moving.dtype) for m in moments])
            new = ops.matmul(ops.cast(weights, moving.dtype), moments)
            kept = ops.convert_to_tensor(keep, moving.dtype)
            moving.assign(moving * kept + ops.stop_gradient(new) * (1.0 - kept))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }
