"""Looks inside a net: theta(t), the path of the states, the error along it.

    python trainers/inside.py                         # runs/latest
    python trainers/inside.py --run=pretrained:cifar10_any_depth --examples=100
    python trainers/inside.py --model=my.keras        # with blocks, or a plain ResNet
    python trainers/inside.py --model=my.keras --inputs=my.npy     # not of images

For each block, over its depth t: the norm of the state, |h(t)|, its distance to the
input, |h(t) - h(0)|, and its error, the distance to the state computed with --refined
times as many steps (all root mean squares over the images); and theta(t), a line per
channel. Writes states.csv, inside.png, theta.png and summaries for TensorBoard.
In Python, `cnet_tf.trajectory.state_at(net, block, images, "1/3")` returns a state.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
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

from cnet_tf.escaping import line
from trainers import disk, inside_report, looked_at
from trainers.errors import naming
from trainers.option_kinds import integer, switch
from trainers.option_table import option
from trainers.option_table import run as run_program


@dataclasses.dataclass(frozen=True)
class Options(looked_at.Options):
    """The flags of a look inside."""

    COMBINATIONS = (
        *looked_at.Options.COMBINATIONS,
        (
            "run",
            lambda options: len(options.run) > 1,
            lambda options: (
                f"expected one run. Received {len(options.run)}: inspect each on "
                "its own."
            ),
        ),
    )

    refined: int = option(
        8, integer(2), "Steps of the reference for each step of the net"
    )
    tensorboard: bool = option(True, switch(), "Write summaries for TensorBoard")


def main(options):
    """Runs the net, writes and prints."""
    workspace = disk.Workspace(options.folder("inside"))
    (found,) = looked_at.read(options)
    # Entered first, so that an unwritable folder is found before the work.
    with workspace:
        batches, remark = found.images()
        with naming("--refined"):
            courses = inside_report.courses(found.net, batches, options.refined)
        curves = inside_report.thetas(found.net)
        files = inside_report.files(courses, curves)
        workspace.publish(files)
        if options.tensorboard:
            folder = workspace.parent / "tensorboard"
            inside_report.summarise(folder, courses, curves, files)
    print(inside_report.markdown(courses))
    if remark:
        print(f"\n{line(remark)}")
    names = [*files, *["tensorboard"] * options.tensorboard]
    print(f"\nWritten to {line(workspace.parent)}: {', '.join(names)}")


if __name__ == "__main__":
    run_program(main, Options)
