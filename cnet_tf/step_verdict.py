"""What the curves of `observed_order` say: an integrator, or a net of one step.

Every net converges to some limit as h -> 0, at the order of the scheme, since its rate
is Lipschitz. What tells an integrator is that this limit is the net that was trained:
its answers are as right there. A net that learned its own step dips there: it is right
at that step, and worse on both sides. Where nobody knows right answers the distance to
the limit, the floor, has to do.

    floor   the error of the net as trained: its distance to the limit of its equation
    order   q of error ~ h^q, over the two finest octaves above the noise
    dip     the error at the step of the training over what a power law through its
            neighbours says; 1 for an integrator
    fall    how many more answers are wrong in the limit than as trained

Intervals are those of 95 of 100 draws of the examples with replacement (bootstrap).
Where activations have kinks (ReLU) a step across one has an error of O(h^2) whatever
the scheme is, so no more than order two is asked for.

Reference: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
"""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from cnet_tf.observed_order import Part
from cnet_tf.sweep_plan import MIXED
from cnet_tf.tableaus import get_scheme

INTEGRATOR, OWN_STEP, UNDECIDED = "integrator", "learned its own step", "undecided"
# Of the floor: a tenth of what the block does.
TOLERANCE = 0.1
# Of the fall: an answer in a hundred.
POINTS = 0.01
_DRAWS = 400
_KINKS = 2
_ENDS = 2.5, 97.5


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number, and where 95 % of the draws lie."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is known of one part of a net.

    Attributes:
        part: Its name.
        kind: `INTEGRATOR`, `OWN_STEP` or `UNDECIDED`.
        scheme, steps: As trained.
        orders: q for every scheme, that of the training first.
        floor, dip, fall: See the module; the fall is that of agreement with the net as
            trained where there are no labels.
        wrong: The share of answers that are wrong as trained.
        labelled: Whether there are labels.
        recalibrated: The fall where batch norms are re-estimated in the limit, None
            where that was not asked for.
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
        """q in the scheme of the training."""
        return self.orders[self.scheme]

    @property
    def text(self) -> str:
        if self.kind == INTEGRATOR:
            return f"{INTEGRATOR} of order {self.order.value:.1f}"
        return self.kind


def judged(
    part: Part, tolerance=TOLERANCE, points=POINTS, recalibrated=None
) -> Verdict:
    """The verdict on one part.

    Over the whole of its interval, the fall (where there are labels, else the floor) is
    either above its bound: it learned its own step. Or it is below, and the order is at
    least that of the scheme, or two, less one half: it is an integrator. Else too
    little is known.

    Args:
        part: Of `observed_order.observe`.
        tolerance: Of the floor, relative. Default 0.1.
        points: Of the fall, in the unit of the errors of answers. Default 0.01.
        recalibrated: Of `limit_errors`; they are reported, and decide nothing, as the
            net does not have these norms. Default: none.
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
        return _interval(draws @ (errors - trained) / len(trained))

    fall = fall_to(part.limit)
    wanted = min(_nominal(part.scheme), _KINKS) - 0.5
    off, bound = (fall, points) if part.labelled else (floor, tolerance)
    kind = UNDECIDED
    if off.low > bound or not math.isfinite(floor.value):
        kind = OWN_STEP
    elif off.high <= bound and orders[part.scheme].low >= wanted:
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
    """The relative error of a scheme at every factor."""
    return [_interval(e) for e in _errors(part, scheme, _draws(len(part.size))).T]


def of_runs(verdicts: list[Verdict]) -> Verdict:
    """Several trainings as one: means, the range over them, the verdict of all.

    Args:
        verdicts: On the same part of each.
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
    """How often each example is drawn, (1 + draws, examples); first each once."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    return np.concatenate([np.ones((1, count)), drawn])


def _interval(values) -> Interval:
    """Of a value and those of the draws."""
    value, *drawn = np.asarray(values, "float64").tolist()
    drawn = [x for x in drawn if not math.isnan(x)]
    if math.isnan(value) or not drawn:
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(drawn, _ENDS)
    return Interval(value, float(low), float(high))


def _errors(part, scheme, draws) -> np.ndarray:
    """Relative errors (draws, factors)."""
    with np.errstate(all="ignore"):
        size = draws @ part.size
        return np.sqrt(draws @ part.curves[scheme].T / size[:, None])


def _order(part, errors) -> float:
    """Slope of log error over log h, over the finest two octaves above the noise."""
    noise = math.sqrt(part.noise.sum() / part.size.sum())
    points = [
        (-math.log(f), math.log(e))
        for f, e in _known(part, errors).items()
        if f >= 1 and e > 4 * noise
    ]
    near = [(h, e) for h, e in points if h <= points[-1][0] + math.log(4.01)]
    if len(near) < 2:
        return math.nan
    return float(np.polyfit(*zip(*near, strict=True), 1)[0])


def _dip(part, errors) -> float:
    known = _known(part, errors)
    at, coarse, fine, finer = (known.get(f) for f in (1, Fraction(1, 2), 2, 4))
    if not at or not fine:
        return math.nan
    if coarse:
        return at / math.sqrt(coarse * fine)
    return at * finer / fine**2 if finer else math.nan


def _known(part, errors) -> dict:
    """Finite errors by their factor, where steps resolve theta."""
    found = zip(part.factors, errors.tolist(), part.resolved, strict=True)
    return {f: e for f, e, resolved in found if resolved and math.isfinite(e)}
