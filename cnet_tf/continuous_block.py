"""A block continuous in depth: dx/dt = eps R(theta(t), x) on [0, 1]."""

import keras

from cnet_tf.checks import positive_integer
from cnet_tf.runge_kutta import integrate
from cnet_tf.series import RESTRICTIONS, ForwardPass, SeriesLayer
from cnet_tf.tableaus import get_scheme


@keras.saving.register_keras_serializable("cnet_tf")
class ContinuousBlock(keras.layers.Layer):
    """x(1) with dx/dt = eps R(theta(t), x), x(0) the input, by N steps of a scheme.

    (scheme, N) is a manifestation: blocks that share a rate share its weights, whatever
    their schemes and steps are. Euler with N = K steps over piecewise constants and
    eps = K is a chain of K residual units.

    Args:
        rate: R, a `SeriesLayer` whose output has the shape of its input. The default
            basis and number of nodes K are the rate's.
        scheme: Name of a scheme in `SCHEMES`. Default `"rk4"`.
        steps: N >= 1. Default: the cells of the basis, which is K for constants.
        horizon: eps, the time horizon: an int, or a float taken as the exact binary
            rational it is. Default 1.
        restriction: `"average"` (default): with fewer steps than cells a step reads the
            average of theta over itself. `"point"`: theta at the stage times, which
            skips cells.

    Shapes: the output has the shape of the input.

    Raises:
        ValueError: unknown scheme or restriction, steps < 1.

    Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389, section 3.
    """

    def __init__(
        self,
        rate: SeriesLayer,
        scheme="rk4",
        steps=None,
        horizon=1,
        restriction="average",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(rate, dict):
            rate = keras.saving.deserialize_keras_object(rate)
        if not isinstance(rate, SeriesLayer):
            raise ValueError(f"rate: expected a SeriesLayer. Received {rate!r}.")
        if restriction not in RESTRICTIONS:
            raise ValueError(
                f"restriction: expected one of {', '.join(RESTRICTIONS)}. "
                f"Received {restriction!r}."
            )
        self.rate = rate
        self.scheme = get_scheme(scheme).name
        self.steps = positive_integer(
            "steps", rate.basis.cells if steps is None else steps
        )
        self.horizon = horizon
        self.restriction = restriction

    @property
    def series(self):
        return self.rate.series

    def build(self, input_shape):
        if not self.rate.built:
            self.rate.build(input_shape)
        output_shape = self.rate.compute_output_shape(input_shape)
        if tuple(output_shape)[1:] != tuple(input_shape)[1:]:
            raise ValueError(
                f"rate: expected an output of the shape of the input, {input_shape}. "
                f"Received {output_shape}: change width and stride in a transition."
            )

    def call(self, x, training=None):
        forward = ForwardPass(self.restriction)

        def rate(time, state):
            return self.rate(state, depth=forward.at(time), training=training)

        x = integrate(self.scheme, rate, x, self.steps, scale=self.horizon)
        forward.finish()
        return x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "rate": keras.saving.serialize_keras_object(self.rate),
            "scheme": self.scheme,
            "steps": self.steps,
            "horizon": self.horizon,
            "restriction": self.restriction,
        }
