"""Is a net an integrator? Runs its blocks and the net with other schemes and steps.

    python trainers/converge.py                       # runs/latest
    python trainers/converge.py --run=pretrained:cifar10_any_depth
    python trainers/converge.py --run=runs/seed-0,runs/seed-1,runs/seed-2
    python trainers/converge.py --model=my.keras      # with blocks, or a plain ResNet
    python trainers/converge.py --model=my.keras --inputs=my.npz   # not of images

The stages of a plain residual net are read as Euler with steps of one. For every block
and for the whole net, the command reports the observed order, the floor (how far the
net as trained is from the limit of its equation), the dip at the step of the training,
accuracy as trained and in the limit, and the verdict; see `cnet_tf/step_verdict.py`.
More --examples give narrower intervals. --recalibration_batches also re-estimates the
batch norms of the whole net in its limit: any loss that remains is not due to them.
Writes convergence.csv, .md, .png and .json.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
"""

import dataclasses
import pathlib
import sys
from fractions import Fraction

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

import keras

from cnet_tf import observed_order, step_verdict
from cnet_tf.escaping import line
from cnet_tf.recalibrated_limit import as_continuous, limit_errors
from cnet_tf.tableaus import SCHEMES
from trainers import convergence_report, disk, looked_at
from trainers.errors import OptionError, naming
from trainers.option_kinds import integer, list_of, number, one_of, ratio
from trainers.option_table import option
from trainers.option_table import run as run_program


@dataclasses.dataclass(frozen=True)
class Options(looked_at.Options):
    """The flags of a convergence test."""

    COMBINATIONS = (
        *looked_at.Options.COMBINATIONS,
        (
            "recalibration_batches",
            lambda options: options.recalibration_batches and options.model,
            lambda options: (
                f"expected 0 with --model. Received {options.recalibration_batches}: "
                "a file does not name its training images, so give a --run."
            ),
        ),
    )

    schemes: tuple[str, ...] = option(
        ("euler", "midpoint", "rk4"),
        list_of(one_of(SCHEMES)),
        "Schemes besides the one in training",
    )
    factors: tuple[Fraction, ...] = option(
        observed_order.FACTORS,
        list_of(ratio(), empty=False),
        "Numbers of steps, as multiples of the number in training",
    )
    tolerance: float = option(
        step_verdict.TOLERANCE,
        number("> 0"),
        "Without labels: floor up to which a net counts as at the limit of its "
        "equation, relative to what a block does",
    )
    recalibration_batches: int = option(
        0,
        integer(0),
        "Batches of 128 training images on which to re-estimate the batch norms of the "
        "whole net in its limit; 0 leaves that column out",
    )
    points: float = option(
        100 * step_verdict.POINTS,
        number("> 0"),
        "Points of accuracy that an integrator may lose in the limit of its equation",
    )


def main(options):
    """Sweeps, judges, writes and prints."""
    workspace = disk.Workspace(options.folder("convergence"))
    sources = looked_at.read(options)
    if len({tuple(flow.name for flow in found.net.flows) for found in sources}) > 1:
        raise OptionError(
            "--run: expected runs of one net, seeds of one training. Received nets "
            "with different blocks: inspect them one by one."
        )
    # Entered first, so that an unwritable folder is found before the work.
    with workspace:
        studies = [_study(found, options) for found in sources]
        workspace.publish(convergence_report.files(studies))
    print(convergence_report.markdown(studies))
    print(f"\nWritten to {line(workspace.parent)}: convergence.csv, .md, .png, .json")


def _study(found, options) -> convergence_report.Study:
    """Observes one net and judges its parts."""
    count = options.recalibration_batches
    if count:
        try:
            net, training = as_continuous(found.model), found.training(count)
        except ValueError as error:
            raise OptionError(
                f"--recalibration_batches: {error} Leave it out."
            ) from error
    batches, remark = found.images()
    bar = keras.utils.Progbar(None, unit_name="evaluation")

    def progress(done, total):
        bar.target = total
        bar.update(done)

    with naming("--factors"):
        parts = observed_order.observe(
            found.net, batches, options.schemes, options.factors, progress=progress
        )
    bounds = options.tolerance, options.points / 100
    verdicts = [step_verdict.judged(part, *bounds) for part in parts[:-1]]
    again = limit_errors(net, parts[-1], batches, training) if count else None
    verdicts.append(step_verdict.judged(parts[-1], *bounds, again))
    return convergence_report.Study(found.name, remark, parts, verdicts)


if __name__ == "__main__":
    run_program(main, Options)
