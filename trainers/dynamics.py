"""What is an integrator? Learns motions through one step, then runs other steps.

    python trainers/dynamics.py
    python trainers/dynamics.py --seeds=1 --spacings=0.4,0.1    # a first look

A rate is fitted to pairs x(t), x(t + D) through one step of each scheme: a matrix for
the oscillator, whose fit is also known in closed form, and a 2-50-2 perceptron for the
pendulum. The error at time T is then measured for steps h from 1 down to 1e-4. The
error of an integrator falls like h^p to a floor. That of an impostor dips at h = D and
rises as h -> 0 to the error of the equation it has learned: any fit converges with
order p, but to the solution of its own equation. A fit that errs as much at h = D as at
longer steps has learned neither. Writes dynamics.csv, .json, .md and .png to --output.

Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389, section 4.
"""

import dataclasses
import itertools
import json
import math
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

import keras
import numpy as np
import tensorflow as tf

from cnet_tf import convergence
from cnet_tf.escaping import line
from cnet_tf.tableaus import SCHEMES
from trainers import disk, dynamics_picture, one_step, results
from trainers.motions import MOTIONS
from trainers.option_kinds import integer, list_of, number, one_of, text
from trainers.option_table import OptionTable, option, run

# Steps h of the curves; T = 2 and T = 10 are whole multiples of each.
STEPS = (1.0, *(m * 10.0**-e for e in range(1, 5) for m in (5, 4, 2.5, 2, 1)))
# Steps that show the order: small against the motions, large against round-off.
_HALVED = (0.02, 0.01, 0.005)
# An impostor's error grows by more than this factor, from h = D to the smallest h.
_RISE = 3.0


def _divides(spacing, motion) -> bool:
    count = MOTIONS[motion].horizon / spacing
    return round(count) >= 1 and math.isclose(count, round(count), rel_tol=1e-9)


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of the test."""

    motions: tuple[str, ...] = option(
        tuple(MOTIONS), list_of(one_of(MOTIONS), empty=False), "Motions to learn"
    )
    schemes: tuple[str, ...] = option(
        ("euler", "midpoint", "rk4_38"),
        list_of(one_of(SCHEMES), empty=False),
        "Schemes to learn through",
    )
    spacings: tuple[float, ...] = option(
        (0.4, 0.2, 0.1, 0.01),
        list_of(number("> 0", most=1.0), empty=False),
        "D, seconds between the states of a pair; T, the time of the errors, must be a "
        "multiple: 2 s for the pendulum, 10 s for the oscillator",
    )
    seeds: int = option(
        5, integer(1, most=100), "Fits of each kind, with seeds 0, 1, .."
    )
    iterations: int = option(50_000, integer(1), "Updates per fit")
    batch_size: int = option(128, integer(1, most=100_000), "Pairs per update")
    learning_rate: float = option(1e-4, number("> 0"), "Learning rate of Adam")
    output: str = option("dynamics", text(), "Folder for the results")

    COMBINATIONS = (
        (
            "spacings",
            lambda o: not all(_divides(d, p) for d in o.spacings for p in o.motions),
            lambda o: (
                "expected spacings of which T is a multiple, 2 s for the pendulum and "
                f"10 s for the oscillator. Received {', '.join(map(str, o.spacings))}."
            ),
        ),
    )


@dataclasses.dataclass(frozen=True)
class Curve:
    """The states at T of the fits of one kind, over step sizes.

    Attributes:
        motion, scheme, spacing: What was learned, and through which step D.
        steps: h, in decreasing order.
        states: Array (steps, seeds, 2).
        end: The exact state, (2,).
    """

    motion: str
    scheme: str
    spacing: float
    steps: np.ndarray
    states: np.ndarray
    end: np.ndarray

    @property
    def errors(self):
        """2-norms of the errors, (steps, seeds); infinite where states overflow."""
        distances = np.linalg.norm(self.states - self.end, axis=-1)
        return np.where(np.isfinite(distances), distances, np.inf)

    @property
    def floors(self):
        """Errors at the smallest step, one per seed."""
        return self.errors[-1]

    @property
    def dips(self):
        """Errors at h = D."""
        return self.errors[self._at(self.spacing)]

    @property
    def orders(self):
        """q in x_h = x + O(h^q), from three steps; x is each fit's own limit.

        log2 |x_h - x_(h/2)| / |x_(h/2) - x_(h/4)|
        """
        coarse, middle, fine = (self.states[self._at(h)] for h in _HALVED)
        change, next_change = coarse - middle, middle - fine
        norms = (np.linalg.norm(each, axis=-1) for each in (change, next_change))
        return np.log2(np.divide(*norms))

    def _at(self, h):
        return np.argmin(abs(self.steps - h))

    @property
    def verdicts(self) -> list[str]:
        """What each seed has learned: a flow, one step, or neither."""
        coarse = self.errors[: self._at(self.spacing)]
        worst = np.max(coarse, axis=0, initial=0) if len(coarse) else np.inf
        # A fit that learned nothing errs alike at h = D and at longer steps.
        learned = self.dips < worst / 2  # Not if NaN.
        kinds = np.where(self.floors <= _RISE * self.dips, "integrator", "impostor")
        return np.where(learned, kinds, "neither").tolist()


def main(options):
    """Fits, measures, writes and prints."""
    kinds = list(itertools.product(options.motions, options.schemes, options.spacings))
    recipe = one_step.Recipe(
        options.iterations, options.batch_size, options.learning_rate
    )
    workspace = disk.Workspace(pathlib.Path(options.output))
    # Entered first, so that an unwritable folder is found before the work.
    with workspace:
        bar = keras.utils.Progbar(len(kinds) * options.iterations, unit_name="update")
        curves = [measured(*kind, options.seeds, recipe, bar.add) for kind in kinds]
        files = contents(curves)
        workspace.publish(files)
    print(f"\n{markdown(curves)}")
    print(f"\nWritten to {line(workspace.parent)}: {', '.join(files)}")


def measured(motion, scheme, spacing, seeds, recipe, progress=lambda done: None):
    """Fits the seeds of a kind and measures their `Curve`."""
    known = MOTIONS[motion]
    states = known.solution(np.arange(0, known.trained + spacing / 2, spacing))
    values = one_step.fit(
        known.model,
        scheme,
        (states[:-1], states[1:]),
        spacing,
        range(seeds),
        recipe,
        progress,
    )
    counts = sorted({round(known.horizon / h) for h in (*STEPS, spacing)})
    start, end = known.solution(np.array([0.0, known.horizon]))

    fitted = one_step.RATES[known.model].value
    states = one_step.final_states(
        lambda x: fitted(values, x),
        scheme,
        tf.constant(np.tile(start, (seeds, 1, 1))),
        known.horizon,
        counts,
    )
    steps = known.horizon / np.array(counts)
    return Curve(motion, scheme, spacing, steps, states, end)


def contents(curves) -> dict[str, bytes]:
    """Returns the contents of the result files by name."""
    rows = [
        {
            "motion": curve.motion,
            "scheme": curve.scheme,
            "spacing": curve.spacing,
            "seed": seed,
            "h": h,
            "error": error,
        }
        for curve in curves
        for seed, errors in enumerate(curve.errors.T)
        for h, error in zip(curve.steps.tolist(), errors.tolist(), strict=True)
    ]
    return {
        "dynamics.csv": results.csv_of(rows),
        "dynamics.json": json.dumps(list(map(_summary, curves)), indent=1).encode(),
        "dynamics.md": f"{markdown(curves)}\n".encode(),
        "dynamics.png": dynamics_picture.png(curves),
    }


def _summary(curve):
    verdicts = curve.verdicts
    return {
        "motion": curve.motion,
        "scheme": curve.scheme,
        "spacing": curve.spacing,
        "floor": _spread(curve.floors),
        "dip": _spread(curve.dips),
        "closed_form_floor": (
            convergence.floor(curve.scheme, curve.spacing)
            if MOTIONS[curve.motion].model == "linear"
            else None
        ),
        "order": _spread(curve.orders),
        "verdicts": {kind: verdicts.count(kind) for kind in sorted(set(verdicts))},
    }


def _spread(values):
    spread = {"mean": values.mean(), "min": values.min(), "max": values.max()}
    # A fit may overflow, and JSON has no infinity.
    return {k: v if math.isfinite(v) else None for k, v in spread.items()}


def markdown(curves) -> str:
    """Returns a table with a row for each kind of fit."""
    return results.table(
        {
            "motion": row["motion"],
            "trained": row["scheme"],
            "D": f"{row['spacing']:g}",
            "floor, mean [min, max]": "{} [{}, {}]".format(
                *(_text(row["floor"][key]) for key in ("mean", "min", "max"))
            ),
            "closed form": (
                _text(row["closed_form_floor"]) if row["closed_form_floor"] else ""
            ),
            "error at h = D": _text(row["dip"]["mean"]),
            "observed order": _text(row["order"]["mean"]),
            "verdicts of the seeds": ", ".join(
                f"{kind} {count}" for kind, count in row["verdicts"].items()
            ),
        }
        for row in map(_summary, curves)
    )


def _text(value) -> str:
    return "not finite" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    run(main, Options)
