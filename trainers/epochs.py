"""Runs the epochs: growth, batches, logs, and rollback when they diverge."""

import dataclasses
import time

import keras
import numpy as np

from cnet_tf.surgery import blocks_of
from trainers import members
from trainers.curves import Curves
from trainers.growth import advance, factor_before, grow, stage_before
from trainers.recorder import NotFinite
from trainers.schedule import learning_rate


class Diverged(RuntimeError):
    """Training still diverges after all rollbacks; the message is one line."""


def train(training):
    """Trains the remaining epochs."""
    callbacks = _callbacks(training)
    callbacks.on_train_begin()
    while training.progress.epoch < training.plan.options.epochs:
        try:
            _train_epoch(training, callbacks)
        except NotFinite as event:
            _roll_back(training, event)
    callbacks.on_train_end()


def _train_epoch(training, callbacks):
    """Trains the current epoch: grows first, then the remaining batches, then logs.

    Raises:
        NotFinite: training diverged; that state is not saved.
        Interrupted: training stopped, after a snapshot.
    """
    plan, progress, recorder = training.plan, training.progress, training.recorder
    options, epoch = plan.options, progress.epoch
    if factor := factor_before(options, epoch, progress.refined, progress.history):
        factors = training.factors_of_blocks(factor)
        training.replace(grow(training.state, factors, options.refine_momentum))
        progress.refined.append(epoch)
        progress.factors.append(factors)
    if stage := stage_before(options, epoch, progress.refined):
        training.replace(advance(training.state, stage, options.refine_momentum))
        progress.refined.append(epoch)
    if members.start_before(options, epoch, training.state.net):
        training.replace(members.start(training.state, options))
    callbacks.on_epoch_begin(epoch)
    before, first = progress.seconds, progress.batch
    _train_batches(training, callbacks)
    here = progress.seconds - before
    examples = (plan.per_epoch - first) * plan.place.batch_size
    # The rate of the first batch, even where this process began in the middle.
    at_start = dataclasses.replace(progress, updates=progress.updates - progress.batch)
    logs = {
        **_means(progress.totals),
        "learning_rate": learning_rate(options, plan.per_epoch, at_start),
        **_depth(training.state.net),
        # Includes the time of earlier processes and of updates rolled back.
        "seconds": progress.seconds - sum(e["seconds"] for e in progress.history),
        "images_per_second": examples / max(here, 1e-9),
    }
    if plan.data.validation is not None:
        scores = training.score("validation")
        logs |= {f"val_{key}": value for key, value in scores.items()}
    progress.history.append(logs)
    progress.epoch, progress.batch = epoch + 1, 0
    progress.totals = [0.0, 0.0, 0.0]
    recorder.save_net(training.state)
    if _is_best(progress.history):
        recorder.save_net(training.state, "best")
    recorder.save(training.state, progress)
    recorder.log(progress.history)
    callbacks.on_epoch_end(epoch, logs)


def _train_batches(training, callbacks):
    """Trains the remaining batches of the current epoch; see `_train_epoch`."""
    plan, progress, recorder = training.plan, training.progress, training.recorder
    updates, _ = training.make_programs()
    batches = iter(training.rest_of_epoch())
    rate, every = None, plan.options.save_batches
    start = time.perf_counter()
    for i in range(progress.batch, plan.per_epoch):
        callbacks.on_train_batch_begin(i)
        if rate != (rate := learning_rate(plan.options, plan.per_epoch, progress)):
            training.state.optimizer.learning_rate = rate
        asked = training.interruption.reason is not None
        update = updates[progress.updates % len(updates)]
        *sums, stop = update(*next(batches), asked).tolist()
        if not np.isfinite(sums[0]):
            raise NotFinite("the loss or the norm of its gradient is not finite")
        progress.totals = [t + v for t, v in zip(progress.totals, sums, strict=True)]
        progress.batch, progress.updates = i + 1, progress.updates + 1
        now = time.perf_counter()
        progress.seconds, start = progress.seconds + now - start, now
        callbacks.on_train_batch_end(i, _means(progress.totals))
        # The end of the epoch has a snapshot of its own.
        if every and progress.batch % every == 0 and progress.batch < plan.per_epoch:
            recorder.save(training.state, progress)
        if stop:
            training.stop()


def _roll_back(training, event):
    """Restores the last snapshot from which an update succeeded, at a lower rate.

    Raises:
        Diverged: no rollback is left, or there is no such snapshot.
    """
    options, progress = training.plan.options, training.progress
    rate = float(training.state.optimizer.learning_rate)
    diverged = [*progress.diverged, progress.updates]
    where = f"epoch {progress.epoch}, batch {progress.batch}: {event}"
    found = False
    if len(diverged) <= options.rollbacks:
        found = training.restore(training.recorder.go_back(progress.updates))
    if not found:
        raise Diverged(
            f"--learning_rate: training diverged at {where}, with the rate {rate:.3g} "
            f"after {len(diverged) - 1} rollbacks (--rollbacks={options.rollbacks}). "
            f"Received {options.learning_rate}: lower it, or raise the batch size."
        )
    # Keep rejected updates (they lower the rate) and the time spent.
    training.progress.diverged = diverged
    training.progress.seconds = progress.seconds
    rate = learning_rate(options, training.plan.per_epoch, training.progress)
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
    options, run = training.plan.options, training.recorder.run
    callbacks = []
    if options.tensorboard and run:
        callbacks.append(Curves(run, options.runs_dir))
    # Callbacks read it, and our loop does not compile its nets.
    training.state.net.optimizer = None
    return keras.callbacks.CallbackList(
        callbacks,
        add_progbar=options.verbose > 0 and run is not None,
        model=training.state.net,
        verbose=options.verbose,
        epochs=options.epochs,
        steps=training.plan.per_epoch,
    )


def _depth(net):
    """Returns the steps for the log: of the first block, and of each if they differ.

    0 for nets of fixed depth.
    """
    steps = {f"steps_{block.name}": block.steps for block in blocks_of(net)}
    first = {"steps": next(iter(steps.values()), 0)}
    return first | (steps if len(set(steps.values())) > 1 else {})
