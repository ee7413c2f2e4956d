"""Blocks of short graphs that have their own numbers beside the shared kernels.

Members of an any-depth net have their own batch norms (`cnet_tf.any_depth`). These
blocks give them more; `trainers/short_graphs.py` finds out whether that helps.
"""

from keras import ops

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.runge_kutta import integrate, stage_times
from cnet_tf.series import Depth, ForwardPass


class ShortBlock(ContinuousBlock):
    """A block that integrates in its own way; initially it equals the plain one.

    Subclasses make their weights in `build_own` and use them in `integrated` or
    `forward_pass`.
    """

    @classmethod
    def of(cls, block):
        """Returns a block of this class with the same rate and the same form."""
        return cls(**{**block.get_config(), "unit": block.rate})

    def build(self, input_shape):
        super().build(input_shape)
        self.build_own(input_shape[-1])

    def call(self, x, training=None, mask=None):
        # States are images, so there is no mask.
        forward = self.forward_pass()
        rate = self.rate_in(x, training)
        x = self.integrated(forward.reading(rate), x)
        forward.finish()
        return x

    def forward_pass(self):
        return ForwardPass(self.restriction)

    def integrated(self, rate, x):
        return integrate(self.scheme, rate, x, self.steps, scale=self.horizon)


class LearnedHorizon(ShortBlock):
    """dx/dt = s eps R(theta(t), x), where s is a learned number, initially 1."""

    def build_own(self, channels):
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")

    def integrated(self, rate, x):
        return super().integrated(lambda t, x: self.factor * rate(t, x), x)


class LearnedReading(ShortBlock):
    """Each evaluation reads sum_k r_k theta_k; r_k are learned, initially as plain."""

    def build_own(self, channels):
        plain = ForwardPass(self.restriction)
        rows = [
            [float(weight) for weight in plain.row(self.basis, time)]
            for n in range(self.steps)
            for time in stage_times(self.scheme, n, self.steps)
        ]
        self.rows = self.add_weight(
            name="rows",
            shape=(len(rows), self.basis.size),
            initializer=lambda shape, dtype: ops.convert_to_tensor(rows, dtype),
        )

    def forward_pass(self):
        return _LearnedPass(self.restriction, self.basis, self.rows)


class _LearnedPass(ForwardPass):
    def __init__(self, restriction, basis, rows):
        super().__init__(restriction)
        self.basis, self.rows = basis, rows

    def at(self, time):
        return _LearnedDepth(self, time)


class _LearnedDepth(Depth):
    def __call__(self, series):
        # A member keeps moving statistics per evaluation, not per cell.
        if series.basis != self.forward.basis:
            return super().__call__(series)
        stage, stages = self.time.stage
        row = self.forward.rows[self.time.step * stages + stage]
        return ops.tensordot(row, ops.convert_to_tensor(series.variable), 1)


class LearnedCorrection(ShortBlock):
    """x' = Phi_h(x) + g(x, k_1): Phi_h the scheme, k_1 its first slope, x an image.

    g is a 3x3 depthwise convolution of each of the two, initially zero. It follows the
    hypersolvers of Poli et al. 2020, arXiv 2007.09601, whose g is a net.
    """

    def build_own(self, channels):
        self.kernels = [
            self.add_weight(
                name=f"kernel_{of}", shape=(3, 3, channels, 1), initializer="zeros"
            )
            for of in ("state", "slope")
        ]

    def integrated(self, rate, x):
        first = []  # States and slopes of the current step, from its first state on.

        def observed(t, x):
            slope = rate(t, x)
            first.extend([x, slope])
            return slope

        def corrected(after):
            pairs = zip(first[:2], self.kernels, strict=True)
            first.clear()
            return after + sum(
                ops.depthwise_conv(part, kernel, padding="same")
                for part, kernel in pairs
            )

        return integrate(
            self.scheme, observed, x, self.steps, scale=self.horizon, project=corrected
        )
