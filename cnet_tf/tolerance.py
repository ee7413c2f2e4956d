"""Finds how many steps a net needs: an embedded pair chooses N for each block, once.

A pair of formulas over the same stages estimates the error of each step. On a set of
inputs, N is doubled until the summed errors of a block's steps are within a tolerance,
and doubling N once more changes the result by no more than that. The net with these N
is an ordinary graph, which can be evaluated or exported.

    choices = steps_for_tolerance(net, images, 0.01)
    cheap = manifest(net, "bosh3", [choice.steps for choice in choices])

N is not chosen anew for each request: an answer would then depend on the rest of the
batch, and no static graph could compute it.

References: Bogacki and Shampine 1989, "A 3(2) pair of Runge-Kutta formulas"; Dormand
and Prince 1980, "A family of embedded Runge-Kutta formulae".
"""

import dataclasses
import math
from fractions import Fraction

import keras
from keras import ops

from cnet_tf.continuous_block import check_call
from cnet_tf.manifestation import manifest
from cnet_tf.runge_kutta import StageTime, stage_times, step_with_error
from cnet_tf.surgery import chosen_blocks, with_blocks
from cnet_tf.tableaus import PAIRS, get_scheme
from cnet_tf.trajectory import in_form, rate_of

# Steps to try for each cell of the basis, in order. They double, because the steps that
# confirm one number are the next to be tried.
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The steps chosen for a block.

    Attributes:
        block: Its name.
        steps: N.
        error: The estimate with that N, see `steps_for_tolerance`; the largest over the
            batches that were run with it, which are those since N was last raised.
    """

    block: str
    steps: int
    error: float


def steps_for_tolerance(net, data, tolerance, scheme="bosh3") -> list[Choice]:
    """Finds for every block an N whose estimated error is within a tolerance.

        error = max(sum_n |e_n|, |x_N - x_2N|) / |x_N|,
        e_n = h sum_i (b_i - b^_i) k_i in step n

    with norms over a whole batch. The pair alone sees the error of a step, but not how
    this error grows in later steps: by 1.3 to 7 times in a small net of horizon 4. N is
    a multiple of the cells of the basis: steps no longer than cells contain no jump of
    theta, whereas longer ones read averages of theta, which is another field, whose
    error no pair sees.

    Args:
        net: A built functional or Sequential model with `ContinuousBlock`s in it.
        data: Iterable of batches of inputs, or of (inputs, labels) pairs.
        tolerance: > 0, for the state after each block, relative to its norm.
        scheme: One of `PAIRS`. Default `"bosh3"`.

    Returns:
        A choice for each block, in order: `manifest(net, scheme, steps)` takes them.

    Raises:
        ValueError: no blocks, no data, a tolerance that is not a positive number or
            that no N reaches, or a scheme without an embedded formula.
    """
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance: expected a number > 0. Received {tolerance!r}.")
    if get_scheme(scheme).name not in PAIRS:
        raise ValueError(
            f"scheme: expected one of {', '.join(PAIRS)}, which estimate their error. "
            f"Received {scheme!r}."
        )
    # Members of an any-depth net have norms that other forms do not read.
    net = manifest(net, scheme)
    blocks = chosen_blocks(net)
    for block in blocks:
        check_call(block)
    probes = [_Probe(block, tolerance, scheme) for block in blocks]
    probed = with_blocks(net, blocks, lambda block, i: probes[i], share=True)
    empty = True
    for batch in data:
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        probed(inputs, training=False)
        # Not within the call: Keras would add a paragraph on the layer's inputs.
        for probe in probes:
            probe.check()
        empty = False
    if empty:
        raise ValueError("data: expected at least one batch. Received none.")
    return [Choice(probe.name, probe.steps, probe.error) for probe in probes]


class _Probe(keras.layers.Layer):
    """A block that raises its N until the estimate is within the tolerance."""

    def __init__(self, block, tolerance, scheme):
        super().__init__(name=block.name, dtype=block.dtype_policy)
        self.supports_masking = True
        self._block, self._tolerance, self._scheme = block, tolerance, scheme
        self._place = 0
        self.error = 0.0

    @property
    def steps(self) -> int:
        return self._block.basis.cells * _MULTIPLES[self._place]

    def compute_output_spec(self, x, training=None, mask=None):
        return keras.KerasTensor(x.shape, x.dtype)

    def call(self, x, training=None, mask=None):
        y, estimate = self._integrated(x, mask, self.steps)
        while True:
            finer, of_finer = self._integrated(x, mask, 2 * self.steps)
            scale = max(_norm(y), 1e-30)
            error = max(estimate, _norm(y - finer)) / scale
            if error <= self._tolerance or self._place + 1 == len(_MULTIPLES):
                if not error <= self.error:  # Or NaN.
                    self.error = error
                return y
            self._place, self.error = self._place + 1, 0.0
            y, estimate = finer, of_finer

    def check(self):
        """Refuses a tolerance that the largest N does not reach."""
        if not self.error <= self._tolerance:
            raise ValueError(
                f"tolerance: expected one that N = {self.steps} steps reach. "
                f"Received {self._tolerance:g}, where the error of block {self.name!r} "
                f"is {self.error:.1e}: choose a larger one, or a scheme of higher "
                "order."
            )

    def _integrated(self, x, mask, steps):
        """Returns (x(1), the pair's estimate) by N steps, as in the net with that N."""
        block = in_form(self._block, self._scheme, steps)
        rate = rate_of(block, mask)
        tableau, h = get_scheme(self._scheme), Fraction(block.horizon) / steps
        total = 0.0
        for n in range(steps):
            times = [*stage_times(tableau, n, steps), StageTime(n, Fraction(1), steps)]
            x, error = step_with_error(tableau, rate, x, times, h)
            total += _norm(error)
        return x, total


def _norm(x) -> float:
    return float(ops.sqrt(ops.sum(ops.square(ops.cast(x, "float32")))))
