"""Trained x tested: the accuracy of several runs in each other's manifestations.

    python trainers/matrix.py --runs=runs/euler-2,runs/midpoint-2,runs/rk4-2
    python trainers/matrix.py --runs=runs/a,runs/b --readings=average,point --nodes=1,2

One row per run, one column per manifestation (scheme, N): those the runs were trained
in, and those of --schemes and --steps. --readings says how theta is read with fewer
steps than cells, see `ContinuousBlock`. Batch norms are as trained, recalibrated on
training images, or private if a run has separate norms for a manifestation.
--nodes first projects the weights to K' functions of their basis. Writes matrix.csv,
matrix.md and matrix.png. trainers/compare.py draws accuracy over cost.
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

import keras

import cnet_tf
from cnet_tf.any_depth import members_of, reading_shared_norms
from cnet_tf.bounds import MOST_NODES, MOST_STEPS
from cnet_tf.escaping import line
from cnet_tf.member_name import member_name
from cnet_tf.series import RESTRICTIONS
from cnet_tf.surgery import blocks_of, chosen_blocks
from cnet_tf.tableaus import SCHEMES
from trainers import data as image_data
from trainers import disk, grid, matrix_report, trained_net
from trainers.data.contents import changed as changed_data
from trainers.data_option import LATEST, data_dir
from trainers.errors import OptionError, naming
from trainers.matrix_report import STATISTICS
from trainers.option_kinds import integer, list_of, one_of, run_folder, text
from trainers.option_table import OptionTable, option
from trainers.option_table import run as run_program


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a matrix."""

    runs: tuple[str, ...] = option(
        (LATEST,), list_of(run_folder(), unique=True, empty=False), "Runs, one row each"
    )
    output: str = option("matrix", text(), "Folder for the results")
    schemes: tuple[str, ...] = option(
        (), list_of(one_of(SCHEMES)), "Schemes of additional columns"
    )
    steps: tuple[int, ...] = option(
        (), list_of(integer(1, most=MOST_STEPS)), "Steps N of additional columns"
    )
    readings: tuple[str, ...] = option(
        ("average",),
        list_of(one_of(RESTRICTIONS), unique=True, empty=False),
        "How theta is read with fewer steps than cells",
    )
    nodes: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_NODES), unique=True),
        "K' to compress each run to, in its own scheme and steps",
    )
    split: str = option("test", one_of(image_data.PARTS), "Split to score")
    examples: int | None = option(
        None, integer(1), "Examples to score", "the whole split"
    )
    recalibration_batches: int = option(
        20,
        integer(0),
        "Batches of 128 training images to recalibrate the batch norms on; 0 skips "
        "this",
    )
    data_dir: str | None = data_dir()


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run and the manifestation it was trained in."""

    name: str
    net: keras.Model
    said: dict
    scheme: str
    steps: int


def read(run) -> Trained:
    """Reads the net of a run.

    Raises:
        OptionError: no run, a damaged net, one without blocks, or whose blocks differ.
    """
    trained = trained_net.read(run, "runs")
    with naming("--runs"):
        found = {(block.scheme, block.steps) for block in chosen_blocks(trained.net)}
    if len(found) > 1:
        raise OptionError(
            f"--runs: expected blocks of one scheme and one N. Received {run!r} with "
            f"{sorted(found)}: score it alone, with trainers/evaluate.py."
        )
    return Trained(trained.name, trained.net, trained.data, *found.pop())


def main(options):
    """Scores the runs, writes the results and prints them."""
    workspace = disk.Workspace(pathlib.Path(options.output))
    runs = trained_net.distinct([read(run) for run in options.runs], options.runs)
    for trained in runs:
        _check_nodes(trained, options.nodes)
    columns = [(trained.scheme, trained.steps) for trained in runs]
    columns += [(s, n) for s in options.schemes for n in options.steps]
    columns = list(dict.fromkeys(columns))
    # First, so that an unwritable folder is found before the work.
    with workspace:
        rows, remarks, loaded = [], [], {}
        for trained in runs:
            key = repr(trained.said)
            if key not in loaded:  # Seeds of one training share their images.
                loaded = {
                    key: image_data.load_as_trained(trained.said, options.data_dir)
                }
            data = loaded[key]
            remarks.append(changed_data(data.changes))
            rows += scored(trained, data, columns, options)
        files = matrix_report.files(rows, remarks)
        workspace.publish(files)
    print(matrix_report.markdown(rows, remarks))
    print(f"\nWritten to {line(workspace.parent)}: {', '.join(files)}")


def scored(trained, data, columns, options) -> list[dict]:
    """Returns the rows of one run, each a cell of the matrix in one reading.

    Returns:
        `{"run", "trained_scheme", "trained_steps", "nodes" (K' if compressed, else
        None), "reading", "trained" (whether it was trained this way), "statistics",
        "scheme", "steps", "accuracy"}`.
    """
    own = trained.scheme, trained.steps
    nets = [(None, trained.net, columns)]
    for size in options.nodes:
        steps = [block.steps for block in blocks_of(trained.net)]
        small = cnet_tf.project(trained.net, nodes=size, steps=steps)
        nets.append((size, small, [own]))
    found = []
    for nodes, net, cells in nets:
        for reading in options.readings:
            if reading != options.readings[0]:
                cells = [cell for cell in cells if _is_coarse(net, cell)]
            rows = _scored(net, data, cells, reading, trained.said, options)
            found += [
                {
                    "run": trained.name,
                    "trained_scheme": trained.scheme,
                    "trained_steps": trained.steps,
                    "nodes": nodes,
                    "reading": reading,
                    "trained": (row["scheme"], row["steps"]) == own
                    and grid.reads_alike(net, row["steps"], reading),
                    **row,
                }
                for row in rows
            ]
    return found


def _is_coarse(net, cell) -> bool:
    """Whether a manifestation has fewer steps than cells; if not, readings agree."""
    _, steps = cell
    return any(steps < block.basis.cells for block in blocks_of(net))


def _scored(net, data, cells, reading, said, options) -> list[dict]:
    wanted = grid.Grid(
        (),
        (),
        options.split,
        options.examples,
        options.recalibration_batches,
        augment=said.get("augment", "none"),
        cutout=said.get("cutout", 0),
    )
    images = grid.scored_images(data, wanted)
    rows = []
    for cell in cells:
        cell_is = {"scheme": cell[0], "steps": cell[1]}
        twin = cnet_tf.manifest(net, *cell, restriction=reading)
        found = {STATISTICS[0]: twin}
        if member_name(*cell) in members_of(net):
            found = {STATISTICS[0]: reading_shared_norms(twin), STATISTICS[2]: twin}
        for statistics, twin in found.items():
            # Recalibrated statistics of either kind are of the same images.
            again = images[1] if statistics == STATISTICS[0] else None
            scores = grid.accuracies(twin, images[0], again)
            for kind, key in (
                (statistics, "accuracy"),
                (STATISTICS[1], "recalibrated_accuracy"),
            ):
                if scores[key] is not None:
                    row = {**cell_is, "statistics": kind, "accuracy": scores[key]}
                    rows.append(row)
                    _tell(row)
    return rows


def _tell(row):
    percent = 100 * row["accuracy"]
    text = f"{row['scheme']}:{row['steps']}, {row['statistics']}: {percent:.2f} %"
    print(text, file=sys.stderr, flush=True)


def _check_nodes(trained, sizes):
    for size in sizes:
        most = min(block.nodes for block in blocks_of(trained.net))
        if size > most:
            raise OptionError(
                f"--nodes: expected at most K = {most} of run {trained.name!r}. "
                f"Received {size}."
            )


if __name__ == "__main__":
    run_program(main, Options)
