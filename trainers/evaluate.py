"""Scores one trained net over a grid of schemes and step counts.

    python trainers/evaluate.py                       # runs/latest
    python trainers/evaluate.py --run=runs/cifar --schemes=euler,rk4 --steps=1,2,4,8

Every manifestation is scored with its batch norms as trained, and with batch norms
recalibrated on training images. Those that were trained, members included, are always
part of the grid. Writes grid.csv, grid.md and grid.png to <run>/evaluation or --output.
For a net that ships with the package, give --run=pretrained:<preset>.
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

from cnet_tf import plain_file
from cnet_tf.bounds import MOST_STEPS
from cnet_tf.escaping import line
from cnet_tf.pretrained import is_shipped
from cnet_tf.series import RESTRICTIONS
from cnet_tf.tableaus import SCHEMES
from trainers import data as image_data
from trainers import disk, grid, trained_net
from trainers.data.augmentation import AUGMENTATIONS
from trainers.data.contents import changed as changed_data
from trainers.data.errors import tell
from trainers.data_option import LATEST, data_dir
from trainers.identity import other_code
from trainers.option_kinds import integer, list_of, one_of, run_folder, text
from trainers.option_table import OptionTable, option
from trainers.option_table import run as run_program


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of an evaluation."""

    run: str = option(LATEST, run_folder(), "What to score")
    output: str | None = option(
        None,
        text(),
        "Folder for the results",
        "<run>/evaluation, or evaluations/<preset> for a net that ships",
    )
    schemes: tuple[str, ...] = option(
        ("euler", "midpoint", "rk4", "rk4_38"),
        list_of(one_of(SCHEMES), empty=False),
        "Schemes of the grid",
    )
    steps: tuple[int, ...] = option(
        (1, 2, 4, 8),
        list_of(integer(1, most=MOST_STEPS), empty=False),
        "Steps N of the grid",
    )
    restriction: str | None = option(
        None,
        one_of(RESTRICTIONS),
        "How theta is read with fewer steps than cells: averaged over the step, for "
        "each stage averaged over the share of that stage (quadrature), or at the "
        "stage times (point), which skips cells",
        "as in training",
    )
    split: str = option("test", one_of(image_data.PARTS), "Split to score")
    examples: int | None = option(
        None, integer(1), "Examples to score", "the whole split"
    )
    recalibration_batches: int = option(
        20,
        integer(0),
        "Batches of 128 training images to recalibrate batch norms on; 0 leaves those "
        "columns out",
    )
    augment: str | None = option(
        None,
        one_of(AUGMENTATIONS),
        "Augmentation of the images to recalibrate batch norms on",
        "as in training",
    )
    data_dir: str | None = data_dir()


def main(options):
    """Scores, writes and prints the grid."""
    run = pathlib.Path(options.run)
    workspace = disk.Workspace(_output(options))
    trained = trained_net.read(run)
    said = trained.data
    if changed := other_code(trained.metadata):
        tell(changed)
    if not options.output:
        plain_file.check_no_link(workspace.parent)
    wanted = grid.Grid(
        options.schemes,
        options.steps,
        options.split,
        options.examples,
        options.recalibration_batches,
        restriction=options.restriction,
        augment=options.augment or said.get("augment", "none"),
        cutout=0 if options.augment else said.get("cutout", 0),
    )
    # Entered first, so that an unwritable folder is found before the work.
    with workspace:
        parts = (options.split, *(("train",) if options.recalibration_batches else ()))
        data = image_data.load_as_trained(said, options.data_dir, parts)
        remark = " ".join(filter(None, (_of_what(options), changed_data(data.changes))))
        rows = grid.scored(trained.net, data, wanted, _tell)
        workspace.publish(grid.contents(rows, remark))
    print(grid.markdown(rows, remark))
    print(f"\nWritten to {line(workspace.parent)}: grid.csv, grid.md, grid.png")


def _of_what(options) -> str:
    """Says which images were scored; empty for the whole test set."""
    if options.examples is None and options.split == "test":
        return ""
    count = "All" if options.examples is None else f"The first {options.examples}"
    return f"{count} images of the {options.split} split."


def _tell(row):
    print(grid.line(row), file=sys.stderr, flush=True)


def _output(options) -> pathlib.Path:
    run = pathlib.Path(options.run)
    if options.output:
        return pathlib.Path(options.output)
    return (
        pathlib.Path("evaluations", run.name)
        if is_shipped(run)
        else (run / "evaluation")
    )


if __name__ == "__main__":
    run_program(main, Options)
