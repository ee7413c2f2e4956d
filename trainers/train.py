"""Trains a net on images, growing its depth on the way.

    python trainers/train.py --flagfile=digits.flags        # a minute, offline
    python trainers/train.py --flagfile=cifar.flags         # the published recipe
    python trainers/train.py --flagfile=runs/latest/flags.txt   # again

Every flag has a default: see --help. Results are in runs/latest. A run that was
stopped, by whatever, goes on when the same command is given again. oneDNN is on, also
on CPUs where TensorFlow leaves it off; TF_ENABLE_ONEDNN_OPTS=0 switches it off.
"""

import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything imports TensorFlow.
    from trainers import onednn

    onednn.switch_on()

from trainers import options, run_directory
from trainers.errors import run_command
from trainers.interruption import Interrupted
from trainers.loop import fit
from trainers.strategy import WorkerLost
from trainers.summary import report


def main():
    """Reads the flags, trains, reports."""
    try:
        print(report(fit(options.from_flags(), run_directory.describe)))
    except Interrupted as stop:
        print(f"\nStopped by {stop}")


if __name__ == "__main__":
    options.define_flags()
    run_command(main, failures=[WorkerLost])
