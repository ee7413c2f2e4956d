"""Trains a net on images and grows its depth during training.

    python trainers/train.py --flagfile=digits.flags        # a minute, offline
    python trainers/train.py --flagfile=cifar.flags         # the published recipe
    python trainers/train.py --flagfile=runs/latest/flags.txt   # again

Every flag has a default: see --help. Results are in runs/latest. To resume a run that
was stopped for whatever reason, give the same command again; with larger --epochs and
--extend a run continues beyond its end. oneDNN is on, also on CPUs where TensorFlow
leaves it off; TF_ENABLE_ONEDNN_OPTS=0 switches it off.

    KERAS_BACKEND=jax python trainers/train.py ..           # on a GPU or TPU with JAX

JAX trains on one device; TensorFlow prepares the images. Both produce the same kind of
net, and everything else runs on TensorFlow.

Exit codes: 0 done, stopped and saved, or running already; 1 diverged, or a worker lost;
2 bad input, or an unwritable disk; 3 the trained net is unusable.
"""

import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

from trainers.cluster import WorkerLost
from trainers.epochs import Diverged
from trainers.fit import fit
from trainers.interruption import Interrupted
from trainers.option_table import run
from trainers.options import Options
from trainers.run_directory import Running
from trainers.summary import Unusable, report


def main(options):
    """Trains and reports."""
    try:
        print(report(fit(options)))
    except Interrupted as stop:
        print(f"\nStopped by {stop}")
    except Running as other:
        print(other)


if __name__ == "__main__":
    failures = [Diverged, WorkerLost, Unusable]
    run(main, Options, failures, backends=("tensorflow", "jax"))
