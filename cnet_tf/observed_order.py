"""Is a net an integrator? Its states with other schemes and steps, block by block.

Every block of a net, or stage of a plain residual net, is run with N f steps, for some
factors f of its own N, starting from the state that the net passes to it. Then the
whole net is run with all of its blocks changed in this way. The reference is a fine
solution of the same equation: the states u, v, w with steps h, h/2, h/4 of the best
scheme, extrapolated with their observed order q (Richardson):

    y = w + (w - v) / (2^q - 1),    2^q = |v - u| / |w - v|.

Errors are |y_N - y|, root mean square over the examples, relative to the change that
the block makes, |y - h(0)|; for the whole net, whose states are its outputs, relative
to how much these differ between examples, |y - mean y|: what all examples have in
common, such as a large bias, decides nothing. Batch norms in blocks use the statistics
that the net has for a form, as in `manifest`; those outside blocks stay as trained.
`step_verdict` interprets the curves.
"""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from keras import ops

from cnet_tf.sweep_plan import Plan, cells_of, manifested, order_of
from cnet_tf.trajectory import TappedNet, run, squares

# Numbers of steps in units of those in training, coarse to fine.
FACTORS = tuple(map(Fraction, ("1/2", "1", "2", "4")))
WHOLE = "whole net"


@dataclasses.dataclass(frozen=True)
class Part:
    """A block, a chain or the whole net, over all examples.

    Attributes:
        name: Name of the block, or `WHOLE` for the net.
        scheme, steps: As trained; steps lists every N if the blocks of the net differ.
        factors: Factors of the curves, ascending, including 1.
        resolved: For each factor, whether no step spans two cells of theta; a step that
            does is not a step of the same equation.
        curves: For each scheme, |y_N - y|^2, (factors, examples).
        errors: For each scheme, the errors of the answers, (factors, examples).
        size: The size to which errors are relative, squared, (examples,).
        noise: The squared distance of the finest state from y, at least round-off,
            (examples,); smaller errors mean nothing.
        limit: The errors of the answers of the finest state, (examples,).
        finest: The scheme and the factor of the finest state.
        labelled: Whether answers were compared with labels, not with those of the net
            as trained.
    """

    name: str
    scheme: str
    steps: str
    factors: tuple[Fraction, ...]
    resolved: tuple[bool, ...]
    curves: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    size: np.ndarray
    noise: np.ndarray
    limit: np.ndarray
    finest: tuple[str, Fraction]
    labelled: bool


def wrong_answers(outputs, labels) -> np.ndarray:
    """Returns 1 where an example's largest logit is not that of its label, else 0.

    A single logit stands for class 1 where it is positive, for class 0 elsewhere. For
    outputs with several positions, such as images, the result is the mean over them.
    Non-finite logits count as wrong, because the largest of NaNs is a mere guess.

    Args:
        outputs: A list whose first array are logits (examples, .., classes).
        labels: Integers (examples, ..), or (examples, .., 1).

    Raises:
        ValueError: labels of another shape.
    """
    logits = np.asarray(ops.convert_to_numpy(outputs[0]))
    labels = np.asarray(labels)
    if labels.ndim == logits.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels: expected integers of shape {logits.shape[:-1]}. Received "
            f"{labels.shape}: give one per example, or per position of an output."
        )
    finite = np.isfinite(logits).all(axis=-1)
    wrong = 1.0 - (finite & (_answers(logits) == labels))
    return wrong.reshape(len(wrong), -1).mean(axis=1)


def _answers(logits):
    return logits.argmax(-1) if logits.shape[-1] > 1 else (logits[..., 0] > 0) * 1


def observe(
    model,
    batches,
    schemes=("rk4",),
    factors=FACTORS,
    judge: Callable = wrong_answers,
    progress: Callable = lambda done, total: None,
) -> list[Part]:
    """Runs a net with other schemes and steps.

        parts = observe(net, [(images, labels)], schemes=("euler", "rk4"))
        print(step_verdict.judged(parts[-1]).kind)

    Args:
        model: A model for `trajectory.TappedNet`, or a `TappedNet`. Its states are
            compared in its own precision, so build it in float64 for orders above two.
        batches: A sequence of pairs (inputs, labels). Unknown labels are None: then the
            answers of the net as trained are used.
        schemes: Schemes besides its own. Default RK4, for a reference that is better
            than first order; with none the order of an Euler net stays unknown.
        factors: Numbers of steps in units of those in training. Factors that a block
            cannot take (half of one step, or, for a chain, anything but multiples of
            its units) are left out.
        judge: Maps outputs and labels to an error for each example. Default
            `wrong_answers`.
        progress: Called with the rate evaluations done so far and their total.

    Returns:
        A part for every block, then one for the whole net.

    Raises:
        ValueError: no such model, scheme or factor; no batches; or a block has no whole
            number of steps at any factor above one.
    """
    tapped = model if isinstance(model, TappedNet) else TappedNet(model)
    factors = tuple(sorted({Fraction(1), *map(Fraction, factors)}))
    if factors[0] <= 0 or not any(f > 1 for f in factors):
        raise ValueError(
            "factors: expected numbers > 0, one of them above 1. Received "
            f"{', '.join(map(str, factors))}."
        )
    plans = [Plan.of([flow], schemes, factors) for flow in tapped.flows]
    whole = Plan.of(tapped.flows, schemes, factors)
    batches = list(batches)
    total = sum(plan.cost for plan in (*plans, whole)) * len(batches)
    done = 0

    def tell(count):
        nonlocal done
        done += count
        progress(done, total)

    if not batches:
        raise ValueError("batches: expected at least one. Received none.")
    common = _common(tapped(batches[0][0]))
    found = [_observed(tapped, plans, whole, judge, tell, common, *b) for b in batches]
    return [_joined(parts) for parts in zip(*found, strict=True)]


def _common(outputs):
    """Returns what outputs have in common, their mean over examples; 0 of a single one.

    The first batch tells it for all.
    """
    arrays = [ops.convert_to_numpy(y).astype("float64") for y in outputs]
    return [(len(y) > 1) * y.mean(axis=0, keepdims=True) for y in arrays]


def _observed(tapped, plans, whole, judge, tell, common, inputs, labels):
    """Computes the parts on one batch."""
    starts = tapped.starts(inputs)
    own = tapped(inputs)
    labelled = labels is not None
    if not labelled:
        labels = _answers(np.asarray(ops.convert_to_numpy(own[0])))

    def alone(i):
        def states(scheme, factor):
            x, mask = starts[i]
            y = run(manifested(tapped.flows[i], scheme, factor), x, mask)
            return [y], tapped(inputs, {i: lambda x, mask: y})

        return states

    def together(scheme, factor):
        def stand_in(flow):
            other = manifested(flow, scheme, factor)
            return lambda x, mask: run(other, x, mask)

        outputs = tapped(
            inputs, {i: stand_in(flow) for i, flow in enumerate(tapped.flows)}
        )
        return outputs, outputs

    rest = judge, labels, labelled, tell
    parts = [
        _part(plan.flows[0].name, plan, alone(i), [starts[i][0]], *rest)
        for i, plan in enumerate(plans)
    ]
    return [*parts, _part(WHOLE, whole, together, common, *rest)]


def _part(name, plan, states, start, judge, labels, labelled, tell) -> Part:
    """Computes the curves of one part on one batch."""
    found, errors = {}, {}
    for point in plan.points():
        ends, outputs = states(*point)
        found[point] = [ops.convert_to_numpy(y).astype("float64") for y in ends]
        errors[point] = judge(outputs, labels)
        tell(plan.cost_of(*point))
    best, fine = plan.fine
    with np.errstate(all="ignore"):  # A coarse step, or a fine one, may overflow.
        reference = _extrapolated([found[best, f] for f in fine], order_of(best))
        noise = squares(reference, found[best, fine[-1]])
        # Digits beyond the precision of the states.
        lost = 64 * np.finfo(str(ops.dtype(ends[0]))).eps
        noise = np.maximum(noise, lost**2 * squares(reference))
        curves = {
            scheme: np.stack(
                [squares(found[scheme, f], reference) for f in plan.factors]
            )
            for scheme in plan.schemes
        }
        size = squares(reference, start)
    steps = {flow.steps for flow in plan.flows}
    return Part(
        name,
        plan.scheme,
        ", ".join(str(flow.steps) for flow in plan.flows)
        if len(steps) > 1
        else str(*steps),
        plan.factors,
        tuple(
            all(f * flow.steps % cells_of(flow) == 0 for flow in plan.flows)
            for f in plan.factors
        ),
        curves,
        {s: np.stack([errors[s, f] for f in plan.factors]) for s in plan.schemes},
        size,
        noise,
        np.asarray(errors[best, fine[-1]]),
        (best, fine[-1]),
        labelled,
    )


def _extrapolated(states, order):
    """Extrapolates states of halved steps (Richardson); the last one if they diverge.

    Args:
        states: Two or three states, each a list of arrays.
        order: Order of the scheme: a larger observed order is an accident.
    """
    *before, half, finest = states
    fine = math.sqrt(squares(finest, half).sum())
    q = order
    if before and fine > 0:
        coarse = math.sqrt(squares(half, before[0]).sum())
        q = min(order, math.log2(coarse / fine)) if coarse > 0 else 0
    if not (fine > 0 and q >= 0.5):  # NaN too.
        return finest
    share = 1 / (2**q - 1)
    return [a + share * (a - b) for a, b in zip(finest, half, strict=True)]


def _joined(parts) -> Part:
    """Joins the parts of several batches."""
    first = parts[0]

    def along(get):
        return np.concatenate([get(part) for part in parts], axis=-1)

    return dataclasses.replace(
        first,
        curves={s: along(lambda p, s=s: p.curves[s]) for s in first.curves},
        errors={s: along(lambda p, s=s: p.errors[s]) for s in first.errors},
        size=along(lambda p: p.size),
        noise=along(lambda p: p.noise),
        limit=along(lambda p: p.limit),
    )
