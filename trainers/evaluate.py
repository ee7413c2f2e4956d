"""Accuracy of one trained net over a grid of schemes and step counts.

    python trainers/evaluate.py                       # of runs/latest
    python trainers/evaluate.py --run=runs/cifar --schemes=euler,rk4 --steps=1,2,4,8

Every manifestation is scored with its batch norms as trained and recalibrated on
training images. Writes grid.csv, grid.md and grid.png to <run>/evaluation.
oneDNN is on, unless TF_ENABLE_ONEDNN_OPTS=0.
"""

import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything imports TensorFlow.
    from trainers import onednn

    onednn.switch_on()

from absl import flags

from cnet_tf import checkpoint
from cnet_tf.tableaus import SCHEMES
from trainers import data as image_data
from trainers import grid
from trainers.augmentation import AUGMENTATIONS
from trainers.errors import OptionError, run_command

RUN = flags.DEFINE_string("run", "runs/latest", "Run directory. Default: runs/latest.")
SCHEME_NAMES = flags.DEFINE_list(
    "schemes",
    ["euler", "midpoint", "rk4", "rk4_38"],
    f"Schemes of the grid, any of: {', '.join(SCHEMES)}. "
    "Default: euler,midpoint,rk4,rk4_38.",
)
STEPS = flags.DEFINE_list(
    "steps", ["1", "2", "4", "8"], "Steps N of the grid, each >= 1. Default: 1,2,4,8."
)
SPLIT = flags.DEFINE_enum(
    "split", "test", ["train", "validation", "test"], "Scored split. Default: test."
)
EXAMPLES = flags.DEFINE_integer(
    "examples", None, "Scored examples, >= 1. Default: the whole split.", lower_bound=1
)
RECALIBRATION = flags.DEFINE_integer(
    "recalibration_batches",
    20,
    "Batches of 128 training images that recalibrate the batch norms, >= 0; 0 leaves "
    "those columns out. Default: 20.",
    lower_bound=0,
)
AUGMENT = flags.DEFINE_enum(
    "augment",
    None,
    list(AUGMENTATIONS),
    "Augmentation of these images, one of: "
    + ", ".join(AUGMENTATIONS)
    + ". Default: as in training.",
)
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Where TFDS keeps prepared sets. Default: $TFDS_DATA_DIR, else "
    "~/tensorflow_datasets.",
)


def _steps(values):
    if not all(value.isdigit() and int(value) >= 1 for value in values):
        raise OptionError(
            f"--steps: expected integers >= 1 separated by commas. "
            f"Received {','.join(values)!r}."
        )
    return [int(value) for value in values]


def main():
    """Scores the grid, writes and prints it."""
    for name in SCHEME_NAMES.value:
        if name not in SCHEMES:
            raise OptionError(
                f"--schemes: expected any of {', '.join(SCHEMES)}. Received {name!r}."
            )
    steps = _steps(STEPS.value)
    run = pathlib.Path(RUN.value)
    trained = checkpoint.load(run / "net")
    data = image_data.load_as_trained(trained.metadata["data"], DATA_DIR.value)
    rows = grid.accuracy_grid(
        trained.net,
        data,
        SCHEME_NAMES.value,
        steps,
        split=SPLIT.value,
        examples=EXAMPLES.value,
        recalibration_batches=RECALIBRATION.value,
        augment=AUGMENT.value or trained.metadata["data"].get("augment", "none"),
        progress=lambda row: print(grid.line(row), file=sys.stderr, flush=True),
    )
    directory = run / "evaluation"
    grid.write(directory, rows)
    print(grid.markdown(rows))
    print(f"\nWritten to {directory}: grid.csv, grid.md, grid.png")


if __name__ == "__main__":
    run_command(main)
