"""Batch normalisation along depth: gamma(t), beta(t) and moving statistics as series.

    y = gamma(t) (x - mu) / sqrt(sigma^2 + epsilon) + beta(t)

In training, mu and sigma^2 are the moments of the batch. The moving statistics that
replace them at inference are series too, but always piecewise constant on the cells of
the basis of gamma and beta. Averages of positive variances are positive, so refinement,
projection and averaging over a step never give a negative variance; hats or polynomials
do not guarantee that.
"""

import re

import keras
import numpy as np
from keras import ops

from cnet_tf.basis import depths, evaluations, get_basis
from cnet_tf.bounds import MOST_NODES
from cnet_tf.checks import positive_integer
from cnet_tf.fresh_layer import fresh
from cnet_tf.kernels import mix, normalize, normalize_batch, wide
from cnet_tf.member_name import evaluations as evaluations_of
from cnet_tf.series import SeriesLayer, depth_in_force, initial_series
from cnet_tf.slicewise import slicewise_constraint, slicewise_regularizer


class UnsuitableNorm(ValueError):
    """A batch norm that cannot become a series along depth."""


@keras.saving.register_keras_serializable("cnet_tf")
class SeriesBatchNormalization(SeriesLayer):
    """y = gamma(t) (x - mu(t)) / sqrt(sigma^2(t) + epsilon) + beta(t), over channels.

    One forward pass may evaluate the same cell several times. Every stage normalises by
    its own batch moments, and the pass then updates each cell once, with the average
    over the evaluations that read it, weighted by how much they read it:

        M_k <- momentum M_k + (1 - momentum) sum_i w_ik m_i / sum_i w_ik.

    Cells that no evaluation read keep their statistics.

    Args:
        momentum: Momentum of the moving statistics. Default 0.9, which PyTorch calls
            0.1.
        epsilon: Added to the variance. Default 1e-5.
        center, scale: Whether there is a beta, and a gamma. Default True.
        synchronized: Whether replicas of `tf.distribute` normalise by the global batch
            instead of their own part. Default False.
        basis, nodes: For gamma and beta, see `SeriesLayer`.
        members: Names of manifestations, such as `"euler:1"`, that have their own
            gamma, beta and statistics (`any_depth`). Default: none.
        member: The member whose values this layer reads. Default None: the values
            shared by all manifestations that are not members.
        statistics: Whether members keep statistics of `"cells"`, or of each of their
            `"evaluations"`. In a long step the stages within a cell have different
            moments, and one mean and variance fit none of them. Default `"cells"`,
            which is for norms outside of blocks.
        depth_cells: Number of cells of [0, 1], finer than those of the basis, for which
            manifestations that are not members keep statistics, read at the stage times
            only; see `any_depth.with_statistics_apart`. Default None: the cells of the
            basis.
        block: Number of the block of the net that contains the norm, for members with
            an N for each block. Default 0.
        <gamma|beta|moving_mean|moving_variance>_initializer, <gamma|beta>_regularizer,
            <gamma|beta>_constraint: As in `keras.layers.BatchNormalization`, for one
            theta_k.

    Call arguments:
        inputs: (.., channels); the channels are the last axis.
        training: Whether to normalise by the moments of the batch, and to move the
            statistics towards them. A frozen norm (`trainable=False`) never does, as in
            Keras.
        mask: Boolean, with the shape of the inputs without channels; False entries are
            left out of the moments.

    Raises:
        ValueError: unknown basis, K is not a size of that basis, or bad depth_cells.

    Reference: Ioffe and Szegedy 2015, arXiv 1502.03167.
    """

    def __init__(
        self,
        momentum=0.9,
        epsilon=1e-5,
        center=True,
        scale=True,
        synchronized=False,
        members=(),
        member=None,
        statistics="cells",
        depth_cells=None,
        block=0,
        gamma_initializer="ones",
        beta_initializer="zeros",
        moving_mean_initializer="zeros",
        moving_variance_initializer="ones",
        gamma_regularizer=None,
        beta_regularizer=None,
        gamma_constraint=None,
        beta_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.synchronized = synchronized
        self.members = tuple(members)
        if member is not None and member not in self.members:
            raise ValueError(
                f"member: expected None or one of {list(members)}. Received {member!r}."
            )
        self.member = member
        if statistics not in STATISTICS:
            raise ValueError(
                f"statistics: expected one of {', '.join(STATISTICS)}. Received "
                f"{statistics!r}."
            )
        self.statistics = statistics
        if depth_cells is not None:
            depth_cells = positive_integer("depth_cells", depth_cells, MOST_NODES)
        self.depth_cells = depth_cells
        self.block = block
        self._lender = None
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.moving_mean_initializer = keras.initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = keras.initializers.get(
            moving_variance_initializer
        )
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)
        self.beta_constraint = keras.constraints.get(beta_constraint)
        self.supports_masking = True

    @classmethod
    def of(cls, norm, basis="constant", nodes=1):
        """Returns the series norm with the settings of a Keras `BatchNormalization`.

        Raises:
            UnsuitableNorm: the norm is of a subclass, over an axis other than the last,
                or renormalises.
        """
        if type(norm) is not keras.layers.BatchNormalization:
            raise UnsuitableNorm(
                f"layer: expected a batch norm of Keras. Received {norm.name!r}, a "
                f"{type(norm).__name__}, whose arithmetic may differ: leave it "
                "outside the block."
            )
        config = norm.get_config()
        axis, renorm = config.pop("axis"), config.pop("renorm", False)
        # Not as the config has them: it keeps only the name of a function.
        kinds = ("initializer", "regularizer", "constraint")
        config = {
            key: getattr(norm, key) if key.endswith(kinds) else value
            for key, value in config.items()
            if not key.startswith("renorm")
        }
        if axis != -1 and norm.built:
            axis -= len(norm.get_build_config()["input_shape"])
        if axis != -1 or renorm:
            received = "renorm=True" if renorm else f"axis={norm.axis}"
            raise UnsuitableNorm(
                f"layer: expected a batch norm {norm.name!r} over the last axis, "
                f"without renorm. Received {received}: change it before it goes into a "
                "block."
            )
        return cls(**config, basis=basis, nodes=nodes)

    def build(self, input_shape):
        self.input_spec = keras.layers.InputSpec(axes={-1: input_shape[-1]})
        if self._lender is None:
            for member in (None, *self.members):
                self._add_set(member, (input_shape[-1],))
        else:
            self.adopt(self._lender().series)
        mine = self.set_of(self.member)
        self.gamma, self.beta = mine.get("gamma"), mine.get("beta")
        self.moving_mean, self.moving_variance = (mine[name] for name in _MOVING)

    def set_of(self, member) -> dict:
        """Returns the series that a member reads, by name; None: those of no member."""
        names = [name for name in _WEIGHTS + _MOVING if self._has[name]]
        start = len(names) * (None, *self.members).index(member)
        return dict(zip(names, self.series[start : start + len(names)], strict=True))

    @property
    def series_read(self) -> list:
        return list(self.set_of(self.member).values())

    def reading(self, member):
        """Returns a layer of the same settings and variables that reads a member's."""
        twin = fresh(self, member=member)
        # A function, so that Keras does not track this layer as a part of the twin.
        twin._lender = lambda: self
        return twin

    @property
    def _has(self):
        return {
            "gamma": self.scale,
            "beta": self.center,
            "moving_mean": True,
            "moving_variance": True,
        }

    def _add_set(self, member, shape):
        suffix = "" if member is None else "_" + re.sub("[:,]", "_", member)
        cells = self._basis_of_statistics(member)
        for name, present in self._has.items():
            if present:
                trainable = name in _WEIGHTS
                self._add(
                    name, suffix, shape, self.basis if trainable else cells, trainable
                )

    def _basis_of_statistics(self, member):
        if member is not None and self.statistics == "evaluations":
            return evaluations(evaluations_of(member, self.block))
        if member is None and self.depth_cells is not None:
            return depths(self.depth_cells)
        return get_basis("constant", self.basis.cells)

    def _add(self, name, suffix, shape, basis, trainable):
        initializer = getattr(self, f"{name}_initializer")

        def initial(stacked, dtype):
            draws = [initializer(shape, dtype=dtype) for _ in range(basis.size)]
            return initial_series(draws, basis, dtype)

        settings = {"aggregation": "mean"}
        if trainable:
            settings = {
                "regularizer": slicewise_regularizer(
                    getattr(self, f"{name}_regularizer")
                ),
                "constraint": slicewise_constraint(getattr(self, f"{name}_constraint")),
            }
        return self.add_series(
            name + suffix,
            shape,
            initial,
            basis,
            trainable,
            autocast=False,
            **settings,
        )

    def call(self, inputs, training=None, mask=None):
        with depth_in_force() as depth:
            dtype, channels = wide(self.variable_dtype), (inputs.shape[-1],)
            gamma = depth(self.gamma) if self.scale else ops.ones(channels, dtype)
            beta = depth(self.beta) if self.center else ops.zeros(channels, dtype)
            gamma, beta = ops.cast(gamma, dtype), ops.cast(beta, dtype)
            if training and self.trainable:
                y, mean, variance = normalize_batch(
                    inputs, gamma, beta, self.epsilon, self.synchronized, mask
                )
                row = depth.row(self.moving_mean.basis)
                depth.forward.observe(self, row, mean, variance)
            else:
                y = normalize(
                    inputs,
                    depth(self.moving_mean),
                    depth(self.moving_variance),
                    gamma,
                    beta,
                    self.epsilon,
                )
        return ops.cast(y, self.compute_dtype)

    def update(self, rows, means, variances):
        """Moves the statistics towards the moments of one pass's evaluations."""
        weights = np.array(rows, dtype="float64").T  # (cells, evaluations)
        total = weights.sum(axis=1)
        weights = weights * _inverse(total)[:, None]

        def average(moments):
            dtype = self.moving_mean.variable.dtype
            return mix(weights, ops.stack([ops.cast(m, dtype) for m in moments]))

        self.move(total, average(means), average(variances))

    def update_by_sums(self, total, means, variances):
        """Does the same as `update`, from sums over the evaluations.

        Args:
            total: sum_i w_ik, NumPy (cells,).
            means, variances: sum_i w_ik m_i, (cells, channels).
        """
        inverse = ops.cast(_inverse(total)[:, None], means.dtype)
        self.move(total, means * inverse, variances * inverse)

    def move(self, total, mean, variance):
        """Moves the statistics of cells that were read (total > 0) towards new ones."""
        keep = np.where(total > 0, self.momentum, 1.0)[:, None]
        for series, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving = series.variable
            kept = ops.convert_to_tensor(keep, moving.dtype)
            moving.assign(moving * kept + ops.stop_gradient(new) * (1.0 - kept))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        of = {
            f"{name}_{what}": module.serialize(getattr(self, f"{name}_{what}"))
            for names, what, module in (
                (_WEIGHTS + _MOVING, "initializer", keras.initializers),
                (_WEIGHTS, "regularizer", keras.regularizers),
                (_WEIGHTS, "constraint", keras.constraints),
            )
            for name in names
        }
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "synchronized": self.synchronized,
            "members": list(self.members),
            "member": self.member,
            "statistics": self.statistics,
            "depth_cells": self.depth_cells,
            "block": self.block,
            **of,
        }


def _inverse(total) -> np.ndarray:
    """Returns 1 / total, or 0 for cells that no evaluation read."""
    return np.divide(1, total, out=np.zeros_like(total), where=total > 0)


STATISTICS = ("cells", "evaluations")
_WEIGHTS = ("gamma", "beta")
_MOVING = ("moving_mean", "moving_variance")
