"""Regularisers and constraints of one weight, applied to each theta_k of a series."""

import keras
from keras import ops


def slicewise(function):
    """Returns the regulariser or constraint of a series, from that of one weight.

    The result is the sum of penalties over the theta_k, or a stack of constrained
    theta_k, as in K layers of a residual network. None stays None.
    """
    if function is None:
        return None
    if isinstance(function, keras.regularizers.Regularizer):
        return _Regularizer(function)
    return _Constraint(function)


class _Regularizer(keras.regularizers.Regularizer):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return sum(self.function(theta) for theta in ops.unstack(x))


class _Constraint(keras.constraints.Constraint):
    def __init__(self, function):
        self.function = function

    def __call__(self, w):
        return ops.stack([self.function(theta) for theta in ops.unstack(w)])
