"""Runs the epochs: growth, batches, logs, and rollback when they diverge."""

import dataclasses
import time

import keras
import numpy as np

from cnet_tf.surgery import blocks_of
from trainers import snapshots
from trainers.growth import advance, factor_before, grow, stage_before
from trainers.interruption import Interrupted
from trainers.run_directory import writing
from trainers.schedule import learning_rate
from trainers.training import NotFinite


class Diverged(RuntimeError):
    """Training still diverges after all rollbacks; the message is one line."""


def train(training, interruption):
    """Trains the remaining epochs."""
    callbacks = _callbacks(training)
    callbacks.on_train_begin()
    while training.progress.epoch < training.options.epochs:
        try:
            _train_epoch(training, callbacks, interruption)
        except NotFinite as event:
            _roll_back(training, event)
    callbacks.on_train_end()


def _train_epoch(training, callbacks, interruption):
    """Trains the current epoch: grows first, then the remaining batches, then logs.

    Raises:
        NotFinite: nothing was saved.
        Interrupted: after a snapshot.
    """
    options, progress = training.options, training.progress
    epoch = progress.epoch
    if factor := factor_before(options, epoch, progress.refined, progress.history):
        training.replace(grow(training.state, factor, options.refine_momentum))
        progress.refined.append(epoch)
    if stage := stage_before(options, epoch, progress.refined):
        training.replace(advance(training.state, stage, options.refine_momentum))
        progress.refined.append(epoch)
    callbacks.on_epoch_begin(epoch)
    before, first = progress.seconds, progress.batch
    _train_batches(training, callbacks, interruption)
    seconds = progress.seconds - before
    examples = (training.per_epoch - first) * options.batch_size
    # The rate of the first batch, even where this process began in the middle.
    at_start = dataclasses.replace(progress, updates=progress.updates - progress.batch)
    logs = {
        **_means(progress.totals),
        "learning_rate": learning_rate(options, training.per_epoch, at_start),
        "steps": _depth(training.state.net),
        "seconds": seconds,
        "images_per_second": examples / max(seconds, 1e-9),
    }
    if training.data.validation is not None:
        scores = training.score("validation")
        logs |= {f"val_{key}": value for key, value in scores.items()}
    progress.history.append(logs)
    progress.epoch, progress.batch = epoch + 1, 0
    progress.totals = [0.0, 0.0, 0.0]
    training.save_net()
    if _is_best(progress.history):
        training.save_net("best")
    training.snapshot()
    training.log()
    callbacks.on_epoch_end(epoch, logs)


def _train_batches(training, callbacks, interruption):
    """Trains the remaining batches of the current epoch; see `_train_epoch`."""
    options, progress = training.options, training.progress
    update, _ = training.make_programs()
    batches = iter(training.rest_of_epoch())
    rate = None
    start = time.perf_counter()
    for i in range(progress.batch, training.per_epoch):
        callbacks.on_train_batch_begin(i)
        if rate != (rate := learning_rate(options, training.per_epoch, progress)):
            training.state.optimizer.learning_rate = rate
        reason = interruption.reason
        *sums, stop = update(*next(batches), reason is not None).tolist()
        if not np.isfinite(sums[0]):
            raise NotFinite("the loss or the norm of its gradient is not finite")
        progress.totals = [t + v for t, v in zip(progress.totals, sums, strict=True)]
        progress.batch, progress.updates = i + 1, progress.updates + 1
        now = time.perf_counter()
        progress.seconds, start = progress.seconds + now - start, now
        callbacks.on_train_batch_end(i, _means(progress.totals))
        if progress.batch == training.per_epoch:
            break  # The end of the epoch has a snapshot of its own.
        if options.save_batches and progress.batch % options.save_batches == 0:
            training.snapshot()
        if stop:
            training.snapshot(interrupted=True)
            raise Interrupted(
                f"{reason or 'another worker'}: {training.run or 'the run'} is saved "
                f"at epoch {progress.epoch}, batch {progress.batch}. Give the same "
                "command again to go on."
            )


def _roll_back(training, event):
    """Restores the last snapshot that an update succeeded from, at a lower rate.

    Raises:
        Diverged: no rollback is left, or there is no such snapshot.
    """
    options, progress = training.options, training.progress
    rate = learning_rate(options, training.per_epoch, progress)
    diverged = [*progress.diverged, progress.updates]
    where = f"epoch {progress.epoch}, batch {progress.batch}: {event}"
    found = False
    if len(diverged) <= options.rollbacks:
        run = training.run
        with writing(options.runs_dir):
            snapshot = run and snapshots.go_back(run, progress.updates)
        found = training.restore(snapshot)
    if not found:
        raise Diverged(
            f"--learning_rate: training diverged at {where}, with the rate {rate:.3g} "
            f"after {len(diverged) - 1} rollbacks (--rollbacks={options.rollbacks}). "
            f"Received {options.learning_rate}: lower it, or raise the batch size."
        )
    # Keep rejected updates (they lower the rate) and the time spent.
    training.progress.diverged = diverged
    training.progress.seconds = progress.seconds
    rate = learning_rate(options, training.per_epoch, training.progress)
    print(
        f"\nDiverged at {where}. Back to epoch {training.progress.epoch}, batch "
        f"{training.progress.batch}, with the rate {rate:.3g} (rollback "
        f"{len(diverged)} of {options.rollbacks})."
    )


def _is_best(history) -> bool:
    """Whether the last epoch has the highest validation accuracy so far."""
    scores = [logs.get("val_accuracy", 0.0) for logs in history]
    return scores[-1] >= max(scores)


def _means(totals):
    loss, right, count = totals
    return {"loss": loss / count, "accuracy": right / count}


def _callbacks(training):
    options, run = training.options, training.run
    callbacks = []
    if options.tensorboard and run:
        callbacks.append(
            keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False)
        )
    # Callbacks look for it, and nets that our loop trains are not compiled.
    training.state.net.optimizer = None
    return keras.callbacks.CallbackList(
        callbacks,
        add_progbar=options.verbose > 0 and run is not None,
        model=training.state.net,
        verbose=options.verbose,
        epochs=options.epochs,
        steps=training.per_epoch,
    )


def _depth(net):
    """Steps of the first block, or 0 for nets of fixed depth: a number for the log."""
    blocks = blocks_of(net)
    return blocks[0].steps if blocks else 0
