"""Maps the slots of an optimizer when theta' = P theta.

    linear, momentum    m' = P m                     follows the weights
    square              sqrt(v') = |P| sqrt(v)       moments, sums, maxima of squares
    magnitude           u' = |P| u                   maxima of absolute values
    row, column         v = r c / mean(r)            Adafactor's factors of v
    ftrl                z' + q(v') P w = P (z + q(v) w)

Second moments are mapped by the triangle inequality for root mean squares (Minkowski's
inequality): rms((P g)_j) <= sum_k |P_jk| rms(g_k), with equality if the g_k are fully
correlated. The obvious max(P v, 0) is zero where a projection undershoots, and there
the momentum, divided by its root, moves the weights by hundreds of learning rates. So
does (P sqrt(v))^2 where P sqrt(v) changes sign. With |P|, bounds that held before hold
after, for every P:

    |m| <= c sqrt(v)   gives   |P m| <= |P| |m| <= c |P| sqrt(v) = c sqrt(v')

So the mapping makes no update larger (Adam and similar), v' >= m'^2 (centered RMSprop
takes the root of the difference), and a running maximum stays above the values that it
bounds (amsgrad). If the rows of P are unit vectors (refined constants), everything is
copied.
"""

import dataclasses

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Mapped:
    """A variable that is mapped, and the slots that its optimizer keeps for it.

    Attributes:
        matrix: P of shape (K', K), float64.
        slots: Attribute of the optimizer -> value, float64.
        weight: The old variable.
        optimizer: The old optimizer.
    """

    matrix: np.ndarray
    slots: dict
    weight: keras.Variable
    optimizer: keras.optimizers.Optimizer

    def linear(self, name):
        return np.tensordot(self.matrix, self.slots[name], axes=1)

    def magnitude(self, name):
        return np.tensordot(np.abs(self.matrix), self.slots[name], axes=1)

    def square(self, name):
        root = np.sqrt(np.maximum(self.slots[name], 0))
        return np.tensordot(np.abs(self.matrix), root, axes=1) ** 2

    def row(self, name):
        """Maps means of g^2 over the last axis; a placeholder if nothing is factored.

        Factored variables have two or more axes, so the first one is kept.
        """
        return self.square(name) if self.slots[name].ndim else self.slots[name]

    def column(self, name):
        """Maps means of g^2 over the second to last axis: of a matrix, the mapped axis.

        v_kc = r_k c_c / mean(r) maps to r'_k c_c / mean(r), again of rank one. As the
        factors of v' have equal means, c' = c mean(r') / mean(r).
        """
        if self.slots[name].ndim > 1:
            return self.square(name)
        mean = np.mean(self.slots["_r"])
        return self.slots[name] * (np.mean(self.row("_r")) / mean if mean else 1.0)

    def ftrl(self, name):
        """Maps Ftrl's z together with the weights: the next ones are -z / q alone.

        q = v^-p / lr + 2 l2 + beta / lr. Mapped by P alone, z' would belong to weights
        other than P w wherever v' is not a copy of v. z + q w is the part of z that l1
        keeps out of the weights.
        """
        ftrl = self.optimizer
        rate = float(ops.convert_to_numpy(ftrl.learning_rate))
        penalty = 2 * ftrl.l2_regularization_strength + ftrl.beta / rate

        def stiffness(accumulator):
            return accumulator**-ftrl.learning_rate_power / rate + penalty

        w = ops.convert_to_numpy(self.weight).astype("float64")
        rest = self.slots[name] + stiffness(self.slots["_accumulators"]) * w
        mapped = np.tensordot(self.matrix, np.stack([rest, w], axis=1), axes=1)
        return mapped[:, 0] - stiffness(self.square("_accumulators")) * mapped[:, 1]


RULES = {
    "linear": Mapped.linear,
    "momentum": Mapped.linear,  # what a reset of the momentum sets to zero
    "square": Mapped.square,
    "magnitude": Mapped.magnitude,
    "row": Mapped.row,
    "column": Mapped.column,
    "ftrl": Mapped.ftrl,
}
