"""Regularisers and constraints of one weight, applied to each theta_k of a series."""

import keras
from keras import ops


def slicewise_regularizer(function):
    """Returns the regulariser of a series: the sum of one weight's over the theta_k.

    This is the penalty of K layers of a residual network. None stays None.
    """
    return function and _Regularizer(function)


def slicewise_constraint(function):
    """Returns the constraint of a series: one weight's, of each theta_k."""
    return function and _Constraint(function)


class _Regularizer(keras.regularizers.Regularizer):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return sum(self.function(theta) for theta in _thetas(x))


class _Constraint(keras.constraints.Constraint):
    def __init__(self, function):
        self.function = function

    def __call__(self, w):
        return ops.stack([self.function(theta) for theta in _thetas(w)])


def _thetas(series):
    # Under JAX no operation takes a variable itself while it is traced.
    return ops.unstack(ops.convert_to_tensor(series))
