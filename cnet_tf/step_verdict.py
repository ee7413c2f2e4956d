"""Judges the curves of `observed_order`: an integrator, or a net of one step.

As h -> 0 every net converges to some limit, at the order of the scheme, since its rate
is Lipschitz. For an integrator this limit is the net that was trained: its answers are
as correct there. The error of a net that learned its own step dips at that step: its
answers are correct there, and worse on both sides. If the correct answers are unknown,
the distance to the limit, the floor, is used instead.

    floor   the error of the net as trained: its distance to the limit of its equation
    order   q of error ~ h^q, over the two finest octaves above the noise
    dip     the error at the step size of the training over that of a power law through
            its neighbours; 1 for an integrator
    fall    how many more answers are wrong in the limit than as trained

Intervals contain 95 of 100 draws of the examples with replacement (bootstrap). That of
the fall reaches at least 3 / n to both sides where n answers are right or wrong: if
none of them changes, up to three in n may do so with that confidence. If activations
have kinks (ReLU), a step across one has an error of O(h^2) whatever the scheme, so no
more than order two is required.

References: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
Hanley and Lippman-Hand 1983, If nothing goes wrong, is everything all right? JAMA 249.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from cnet_tf.observed_order import Part
from cnet_tf.sweep_plan import MIXED
from cnet_tf.tableaus import get_scheme

INTEGRATOR, OWN_STEP, UNDECIDED = "integrator", "learned its own step", "undecided"
# Bound of the floor: a tenth of what the block does.
TOLERANCE = 0.1
# Bound of the fall: one answer in a hundred.
POINTS = 0.01
_DRAWS = 400
_KINKS = 2
_ENDS = 2.5, 97.5
# Errors that count, over the noise.
_ABOVE_NOISE = 4


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number, and the interval that contains 95 % of the draws."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is known about one part of a net.

    Attributes:
        part: Its name.
        kind: `INTEGRATOR`, `OWN_STEP` or `UNDECIDED`.
        scheme, steps: As trained.
        orders: q for every scheme, that of the training first.
        floor, dip, fall: See the module. Without labels, the fall counts answers that
            differ from those of the net as trained.
        wrong: The share of wrong answers of the net as trained.
        labelled: Whether there are labels.
        recalibrated: The fall if batch norms are re-estimated in the limit; None if
            that was not requested.
    """

    part: str
    kind: str
    scheme: str
    steps: str
    orders: dict[str, Interval]
    floor: Interval
    dip: Interval
    fall: Interval
    wrong: float
    labelled: bool
    recalibrated: Interval | None = None

    @property
    def order(self) -> Interval:
        """q with the scheme of the training."""
        return self.orders[self.scheme]

    @property
    def text(self) -> str:
        if self.kind == INTEGRATOR and math.isnan(self.order.value):
            return f"{INTEGRATOR}, its order hidden by round-off"
        if self.kind == INTEGRATOR:
            return f"{INTEGRATOR} of order {self.order.value:.1f}"
        return self.kind


def judged(
    part: Part, tolerance=TOLERANCE, points=POINTS, recalibrated=None
) -> Verdict:
    """Returns the verdict on one part.

    The fall decides, or the floor if there are no labels. If its whole interval is
    above its bound, or the floor is not finite, the part learned its own step. If its
    whole interval is within the bound, and that of the order is at or above the order
    of the scheme, or two if that is less, minus one half, the part is an integrator;
    so it is if its error as trained is below the noise, which hides the order. Without
    labels, answers that change in the limit leave it undecided. Otherwise too little is
    known.

    Args:
        part: A part from `observed_order.observe`.
        tolerance: Bound of the floor, relative. Default 0.1.
        points: Bound of the fall, in the unit of the errors of answers. Default 0.01.
        recalibrated: Errors from `limit_errors`; they are reported but do not affect
            the verdict, as the net does not have these norms. Default: none.
    """
    draws = _draws(len(part.size))
    orders = {
        scheme: _interval([_order(part, e) for e in _errors(part, scheme, draws)])
        for scheme in part.curves
    }
    own = _errors(part, part.scheme, draws)
    at = part.factors.index(1)
    floor = _interval(own[:, at])
    dip = _interval([_dip(part, e) for e in own])
    trained = part.errors[part.scheme][at]

    def fall_to(errors):
        found = _interval(draws @ (errors - trained) / len(trained))
        if not set(np.unique([errors, trained])) <= {0, 1}:  # Not right or wrong.
            return found
        few = 3 / len(trained)
        low, high = found.value - few, found.value + few
        return Interval(found.value, min(found.low, low), max(found.high, high))

    fall = fall_to(part.limit)
    wanted = min(_nominal(part.scheme), _KINKS) - 0.5
    off, bound = (fall, points) if part.labelled else (floor, tolerance)
    kind = UNDECIDED
    if off.low > bound or not math.isfinite(floor.value):
        kind = OWN_STEP
    elif off.high <= bound and fall.low <= points:
        hidden = floor.high <= _ABOVE_NOISE * _noise(part)
        if hidden or orders[part.scheme].low >= wanted:
            kind = INTEGRATOR
    return Verdict(
        part.name,
        kind,
        part.scheme,
        part.steps,
        orders,
        floor,
        dip,
        fall,
        float(trained.mean()),
        part.labelled,
        None if recalibrated is None else fall_to(recalibrated),
    )


def relative(part: Part, scheme: str) -> list[Interval]:
    """Returns the relative error of a scheme at every factor."""
    return [_interval(e) for e in _errors(part, scheme, _draws(len(part.size))).T]


def of_runs(verdicts: list[Verdict]) -> Verdict:
    """Combines several trainings: means, the range over them, the verdict if all agree.

    Args:
        verdicts: Verdicts on the same part of each net.
    """
    first = verdicts[0]
    kinds = {verdict.kind for verdict in verdicts}

    def over(get):
        values = [get(verdict).value for verdict in verdicts]
        return Interval(float(np.mean(values)), min(values), max(values))

    schemes = [s for s in first.orders if all(s in v.orders for v in verdicts)]
    return dataclasses.replace(
        first,
        kind=kinds.pop() if len(kinds) == 1 else UNDECIDED,
        orders={s: over(lambda v, s=s: v.orders[s]) for s in schemes},
        floor=over(lambda v: v.floor),
        dip=over(lambda v: v.dip),
        fall=over(lambda v: v.fall),
        wrong=float(np.mean([verdict.wrong for verdict in verdicts])),
        recalibrated=first.recalibrated and over(lambda v: v.recalibrated),
    )


def _nominal(scheme) -> int:
    return 1 if scheme == MIXED else get_scheme(scheme).order


def _draws(count) -> np.ndarray:
    """Returns how often each example is drawn, (1 + draws, examples); row 0: once."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    return np.concatenate([np.ones((1, count)), drawn])


def _interval(values) -> Interval:
    """Returns the interval of a value that is followed by those of the draws."""
    value, *drawn = np.asarray(values, "float64").tolist()
    drawn = [x for x in drawn if not math.isnan(x)]
    if math.isnan(value) or not drawn:
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(drawn, _ENDS)
    return Interval(value, float(low), float(high))


def _errors(part, scheme, draws) -> np.ndarray:
    """Returns the relative errors (draws, factors)."""
    with np.errstate(all="ignore"):
        size = draws @ part.size
        return np.sqrt(draws @ part.curves[scheme].T / size[:, None])


def _order(part, errors) -> float:
    """Fits the slope of log error over log h, in the finest two octaves above noise."""
    least = _ABOVE_NOISE * _noise(part)
    points = [
        (-math.log(f), math.log(e))
        for f, e in _known(part, errors).items()
        if f >= 1 and e > least
    ]
    near = [(h, e) for h, e in points if h <= points[-1][0] + math.log(4.01)]
    if len(near) < 2:
        return math.nan
    return float(np.polyfit(*zip(*near, strict=True), 1)[0])


def _noise(part) -> float:
    """Returns the relative error below which errors mean nothing."""
    return math.sqrt(part.noise.sum() / part.size.sum())


def _dip(part, errors) -> float:
    known = _known(part, errors)
    at, coarse, fine, finer = (known.get(f) for f in (1, Fraction(1, 2), 2, 4))
    if not at or not fine:
        return math.nan
    if coarse:
        return at / math.sqrt(coarse * fine)
    return at * finer / fine**2 if finer else math.nan


def _known(part, errors) -> dict:
    """Returns the finite errors by their factor, where steps resolve theta."""
    found = zip(part.factors, errors.tolist(), part.resolved, strict=True)
    return {f: e for f, e, resolved in found if resolved and math.isfinite(e)}
