"""Starts a training run or resumes it.

The order of initialisation, and why:

1. Options check themselves when they are made (options.py), before TensorFlow starts.
2. The place comes before anything else of TensorFlow (place.py), as clusters and TPUs
   set up the runtime. A batch that cannot be shared out among the replicas is refused
   before data is read.
3. Data is loaded and its size is checked, so that bad input leaves no directory.
   Options, place and data make up the plan (plan.py); the rest reads nothing else.
4. Workers of a cluster compare what determines their numbers (identity.py) before
   anything is built. The net and its optimizer are built from the seed, in the scope of
   the strategy; a net that cannot be built leaves no directory. Up to here a signal
   stops the process at once, from here on after a batch (interruption.py).
5. The chief finds its run directory (run_directory.py) and locks it: the newest one of
   the same identity that has no summary.json; one of fewer epochs with --extend; a new
   one otherwise, or with --noresume. If another live process holds it, this one ends
   with a line. From here on a single object writes to it (recorder.py).
6. The rule for resuming: take the newest whole snapshot of that run (snapshots.py). The
   chief decides and sends it to the other workers (broadcast.py). Every worker refuses
   data that changed; net, optimizer and progress replace those of step 4. Without a
   snapshot, save the initial state.
7. Train the remaining epochs (epochs.py). Order, augmentation and learning rate are
   functions of seed and progress, so a resumed run ends with the same bits.
8. Score, and write the summary, which marks the run as finished (summary.py).

Calls go downwards: fit -> epochs -> training -> steps, schedule, growth, recorder.
"""

import time

import keras

from trainers.broadcast import check_workers
from trainers.data.images import load
from trainers.epochs import train
from trainers.first_net import first_net
from trainers.growth import State
from trainers.interruption import Interruption
from trainers.options import Options
from trainers.place import Place
from trainers.plan import Plan
from trainers.recorder import opened
from trainers.schedule import make_optimizer
from trainers.summary import finish
from trainers.training import Training


def fit(options: Options) -> dict:
    """Trains a net as the options say; returns the summary, also in the run directory.

    Resumes an interrupted run of the same options from its last snapshot; it ends with
    the same bits as a run that was never interrupted.

    Args:
        options: Already checked, when they were made.

    Raises:
        OptionError, DataError: bad input, or a disk that cannot be written.
        Diverged: training still diverges after all allowed rollbacks.
        Interrupted: a signal came or the time is up; everything is saved.
        WorkerLost: another worker of the cluster is gone, or did not start.
        Running: the same command is running already.
        Unusable: the test loss is not finite; everything is saved.
    """
    began = time.perf_counter()
    with Interruption(options.max_minutes) as interruption:
        return _fit(options, began, interruption)


def _fit(options, began, interruption):
    place = Place.of(options)
    interruption.listen()  # Clusters of TensorFlow replace the handler of SIGTERM.
    data = load(
        options.dataset,
        options.data_dir,
        options.validation_fraction,
        options.image_size,
        options.test_fraction,
        options.seed,
        options.skip_broken,
    )
    plan = Plan(options, place, data)
    with place.together():
        check_workers(place, plan.identity)
        keras.utils.set_random_seed(options.seed)
        net = first_net(plan)
        state = State(net, make_optimizer(options, net.trainable_variables))
        interruption.defer()
        with opened(plan) as recorder:
            training = Training(plan, recorder, state, interruption)
            resumed = training.restore(recorder.newest())
            recorder.tell_start(training.progress, resumed)
            if not resumed:
                recorder.save(state, training.progress)
            train(training)
            return finish(training, began)
