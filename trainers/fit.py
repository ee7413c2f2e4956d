"""Starts a training run or resumes it.

The order of initialisation, and why:

1. Options check themselves when they are made (options.py), before TensorFlow starts.
2. The strategy comes first of all of TensorFlow: clusters and TPUs set up the runtime.
3. Data is loaded and the sizes are checked, so that bad input leaves no directory.
4. The net and its optimizer are built from the seed, in the scope of the strategy.
5. The chief finds its run directory (run_directory.py) and locks it: the newest one
   whose options.json is equal, which has no summary.json and which no living process
   has locked; a new one otherwise, or with --noresume.
6. The rule to resume: take the newest snapshot of that run that is whole
   (snapshots.py). The chief decides and sends it to the other workers (broadcast.py);
   net, optimizer and progress replace those of step 4. Without one, save the start.
7. Train the remaining epochs (epochs.py). Order, augmentation and learning rate are
   functions of seed and progress, so a resumed run ends with the same bits.
8. Score, and write the summary, which marks the run as finished (summary.py).

The flow goes down: fit -> epochs -> training -> steps, schedule, growth, snapshots.
"""

import contextlib
import dataclasses
import time

import keras
import tensorflow as tf

from trainers import data as image_data
from trainers import run_directory, snapshots
from trainers.epochs import train
from trainers.errors import OptionError
from trainers.first_net import first_net
from trainers.growth import State
from trainers.interruption import Interruption
from trainers.options import Options
from trainers.schedule import make_optimizer
from trainers.strategy import is_chief, make_strategy, together
from trainers.summary import finish
from trainers.training import Training


def fit(options: Options) -> dict:
    """Trains a net as the options say; returns the summary, also in the run directory.

    Resumes an interrupted run of the same options from its last snapshot; it ends with
    the same bits as a run that was never interrupted.

    Args:
        options: Checked when they were made.

    Raises:
        OptionError, DataError: bad input, or a disk that cannot be written.
        Diverged: no lower rate that was allowed helped.
        Interrupted: a signal or the end of the minutes; everything is saved.
        WorkerLost: another worker of the cluster is gone.
    """
    began, told = time.perf_counter(), options
    strategy = make_strategy(options)
    replicas = strategy.num_replicas_in_sync
    if options.replica_batch_size:
        size = options.replica_batch_size * replicas
        options = dataclasses.replace(options, batch_size=size)
    jit = _jit(options, replicas)
    data = image_data.load(
        options.dataset,
        options.data_dir,
        options.validation_fraction,
        options.image_size,
    )
    per_epoch = _batches_per_epoch(options, data)
    with together(strategy):
        # A net that cannot be built leaves no directory.
        keras.utils.set_random_seed(options.seed)
        net = first_net(options, data)
        state = State(net, make_optimizer(options, net.trainable_variables))
        run, lock = None, contextlib.nullcontext()
        if is_chief(strategy):
            with run_directory.writing(options.runs_dir):
                run, lock = run_directory.start(options)
                run_directory.describe(run, told)
        with lock, Interruption(options.max_minutes) as interruption:
            training = Training(
                options,
                data,
                per_epoch,
                strategy,
                jit,
                run,
                state,
                {"data": data_metadata(data, options)},
            )
            if not training.restore(run and snapshots.newest(run)):
                training.snapshot()
            train(training, interruption)
            return finish(training, began)


def data_metadata(data, options) -> dict:
    """Describes the data to a deployed net: names and normalisation."""
    return {
        "name": data.name,
        "image_size": options.image_size,
        "augment": options.augment,
        "cutout": options.cutout,
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        "mean": [float(v) for v in data.mean],
        "std": [float(v) for v in data.std],
    }


def _batches_per_epoch(options, data):
    whole = data.sizes["train"] // options.batch_size
    if whole == 0:
        raise OptionError(
            f"--batch_size: expected at most {data.sizes['train']}, the examples to "
            f"train on. Received {options.batch_size}."
        )
    return min(whole, options.batches_per_epoch or whole)


def _jit(options, replicas):
    if options.batch_size % replicas:
        raise OptionError(
            f"--batch_size: expected a multiple of the {replicas} replicas. "
            f"Received {options.batch_size}."
        )
    if options.jit_compile == "on" and replicas > 1:
        raise OptionError(
            f"--jit_compile: expected 'off' or 'auto' with {replicas} replicas, which "
            "XLA cannot compile as one step. Received 'on'."
        )
    if options.jit_compile == "auto":
        return bool(tf.config.list_physical_devices("GPU")) and replicas == 1
    return options.jit_compile == "on"
