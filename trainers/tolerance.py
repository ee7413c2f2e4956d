"""Chooses each block's steps for a tolerance on training images; reports their cost.

    python trainers/tolerance.py                        # of runs/latest
    python trainers/tolerance.py --run=runs/cifar --tolerances=0.1,0.01 --scheme=dopri5

An embedded pair of Runge-Kutta formulas estimates the error of each block. For each
tolerance, prints N, the estimate, the accuracy on test images, and the flags with which
the exports write that graph. N is chosen once: if it were chosen for each request,
answers would depend on what else is in the batch.
Then prints, for each block of the net and of these graphs, the error of each step and
the gain from steps of other lengths: foretold, if they evened out the errors, and
measured, with such steps within the cells of theta.
oneDNN is on unless TF_ENABLE_ONEDNN_OPTS=0.
"""

import dataclasses
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

from cnet_tf import escaping
from cnet_tf.manifestation import manifest
from cnet_tf.step_errors import block_error, measured_gain, starts
from cnet_tf.tableaus import PAIRS, get_scheme
from cnet_tf.tolerance import steps_for_tolerance
from trainers import data as image_data
from trainers import trained_net
from trainers.data import batches
from trainers.data_option import LATEST, data_dir
from trainers.errors import naming
from trainers.option_kinds import integer, list_of, number, one_of, run_folder
from trainers.option_table import OptionTable, option, run
from trainers.steps import accuracy_of, evaluate


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a search for steps."""

    run: str = option(LATEST, run_folder(), "Net to choose steps for")
    scheme: str = option("bosh3", one_of(PAIRS), "Embedded pair")
    tolerances: tuple[float, ...] = option(
        (0.1, 0.03, 0.01),
        list_of(number("> 0"), empty=False),
        "Errors of the state after a block, relative to its norm",
    )
    batches: int = option(
        1, integer(1), "Batches of 128 training images to choose the steps on"
    )
    examples: int | None = option(
        None, integer(1), "Test images to score", "all of them"
    )
    data_dir: str | None = data_dir()


def main(options):
    """Prints Markdown tables, the first with a row per tolerance."""
    trained = trained_net.read(options.run)
    data = image_data.load_as_trained(trained.data, options.data_dir)
    images = batches.recalibration_batches(data, "none", options.batches)
    examples = batches.eval_batches(data, "test", 500, options.examples)
    stages = get_scheme(options.scheme).stages
    print("| tolerance | N of each block | evaluations | estimate | accuracy, % |")
    print("|---|---|---|---|---|")
    lines, graphs = [], [trained.net]
    for tolerance in options.tolerances:
        with naming("--run, --tolerances"):
            found = steps_for_tolerance(trained.net, images, tolerance, options.scheme)
        steps = [choice.steps for choice in found]
        graphs.append(manifest(trained.net, options.scheme, steps))
        scores = evaluate(graphs[-1], examples)
        print(
            f"| {tolerance:g} | {', '.join(map(str, steps))} | {stages * sum(steps)} "
            f"| {max(choice.error for choice in found):.1e} "
            f"| {100 * accuracy_of(scores):.2f} |",
            flush=True,
        )
        numbers = ",".join(map(str, steps))
        lines.append(f"{tolerance:g}: --scheme={options.scheme} --steps={numbers}")
    print("\nTo export:", *lines, "", sep="\n")
    inputs, _ = next(iter(images))
    print("| block | steps | error | of each step | gain, predicted | measured |")
    print("|---|---|---|---|---|---|")
    for form, start in _forms(graphs, inputs).items():
        print(f"| {' | '.join(form)} | {' | '.join(_errors(start))} |", flush=True)


def _forms(graphs, inputs) -> dict:
    """Returns each form of the blocks of nets once, with the first input it gets."""
    found = {}
    for net in graphs:
        for block, *start in starts(net, inputs):
            form = escaping.markdown(block.name), f"{block.scheme}, {block.steps}"
            found.setdefault(form, (block, *start))
    return found


def _errors(start):
    """Returns table cells: the errors of a block and the gain from another grid."""
    block, found = start[0], block_error(*start)
    # With fewer steps than cells, steps read averages, which other lengths change.
    whole = block.steps % block.basis.cells == 0
    return (
        f"{found.error:.1e}",
        ", ".join(f"{error:.1e}" for error in found.of_steps),
        f"{found.gain:.2f}",
        f"{measured_gain(found, *start):.2f}" if whole else "-",
    )


if __name__ == "__main__":
    run(main, Options)
