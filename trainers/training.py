"""A run under way: epochs with growth, snapshots and logs between them."""

import dataclasses
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from cnet_tf import checkpoint
from cnet_tf.manifestation import recalibrate
from trainers import snapshots, steps
from trainers.batches import eval_batches, train_batches
from trainers.data import ImageData
from trainers.errors import OptionError
from trainers.flops import forward_flops
from trainers.growth import State, grow
from trainers.interruption import Interrupted
from trainers.logs import write as write_logs
from trainers.options import Options
from trainers.schedule import learning_rate
from trainers.snapshots import Progress

# Images of a batch of evaluation.
_EVALUATED = 500

# Batches that re-estimate the batch norms of averaged weights.
_RECALIBRATION_BATCHES = 20


@dataclasses.dataclass
class Training:
    """A run under way.

    Attributes:
        options: What it was told.
        data, per_epoch: What it trains on, and the batches of an epoch.
        strategy, jit: Where it runs, and whether XLA compiles the steps.
        run: Its directory.
        state: Net and optimizer.
        progress: How far it has come.
        metadata: Saved with every net.
        programs: (train, evaluate), the graphs of the net; None before they are made.
    """

    options: Options
    data: ImageData
    per_epoch: int
    strategy: tf.distribute.Strategy
    jit: bool
    run: pathlib.Path
    state: State
    progress: Progress
    metadata: dict
    programs: tuple | None = None

    def make_programs(self):
        """Graphs hold the net they were traced with: growth needs new ones."""
        if self.programs is None:
            self.programs = _programs(self.options, self.state, self.strategy, self.jit)
        return self.programs

    def snapshot(self):
        """Saves all that is needed to go on from here."""
        snapshots.save(
            self.run,
            self.state.net,
            self.state.optimizer,
            self.progress,
            self.metadata,
            self.options.keep,
        )

    def save_net(self, name="net"):
        """Saves the net alone, for evaluation and export."""
        checkpoint.save(self.state.net, self.run / name, self.metadata)

    def score(self, split) -> dict[str, float]:
        """Loss and accuracy of the net as it is."""
        batches = eval_batches(self.data, split, _EVALUATED)
        return steps.evaluate_with(self.make_programs()[1], batches, self.strategy)


def train(training, interruption):
    """All epochs that are left."""
    options, progress = training.options, training.progress
    callbacks = _callbacks(
        options, training.run, training.state.net, training.per_epoch
    )
    callbacks.on_train_begin()
    for epoch in range(progress.epoch, options.epochs):
        if epoch in options.refine_epochs and epoch not in progress.refined:
            with training.strategy.scope():
                training.state = grow(
                    training.state, options.refine_factor, options.refine_momentum
                )
            training.programs = None
            progress.refined.append(epoch)
        callbacks.on_epoch_begin(epoch)
        rate = learning_rate(training.state.optimizer)
        before = progress.seconds
        first = progress.batch
        _train_epoch(training, callbacks, interruption)
        seconds = progress.seconds - before
        loss, right, count = progress.totals
        logs = {
            "loss": loss / count,
            "accuracy": right / count,
            "learning_rate": rate,
            "steps": _depth(training.state.net),
            "seconds": seconds,
            "images_per_second": (training.per_epoch - first)
            * options.batch_size
            / max(seconds, 1e-9),
        }
        # Before anything is saved: the snapshot of the epoch before stays.
        if not np.isfinite(logs["loss"]):
            raise OptionError(
                f"--learning_rate: the loss of epoch {epoch} is {logs['loss']}. "
                f"Received {options.learning_rate}: lower it, or raise the batch size."
            )
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
        write_logs(training.run, progress.history)
        callbacks.on_epoch_end(epoch, logs)
    callbacks.on_train_end()


def _train_epoch(training, callbacks, interruption):
    """The batches of the current epoch that are left.

    Raises:
        Interrupted: after a snapshot.
    """
    options, progress = training.options, training.progress
    step, _ = training.make_programs()
    first = progress.batch
    batches = train_batches(
        training.data,
        options.batch_size,
        options.seed,
        progress.epoch,
        options.augment,
        skip_batches=first,
    ).take(training.per_epoch - first)
    distributed = iter(training.strategy.experimental_distribute_dataset(batches))
    start = time.perf_counter()
    for i in range(first, training.per_epoch):
        callbacks.on_train_batch_begin(i)
        sums = [float(value) for value in step(*next(distributed))]
        progress.totals = [t + v for t, v in zip(progress.totals, sums, strict=True)]
        progress.batch, progress.updates = i + 1, progress.updates + 1
        now = time.perf_counter()
        progress.seconds, start = progress.seconds + now - start, now
        loss, right, count = progress.totals
        callbacks.on_train_batch_end(
            i, {"loss": loss / count, "accuracy": right / count}
        )
        last = progress.batch == training.per_epoch
        if options.save_batches and i % options.save_batches == 0 and not last:
            training.snapshot()
        if (reason := interruption.reason) and not last:
            training.snapshot()
            raise Interrupted(
                f"{reason}: {training.run} is saved at epoch {progress.epoch}, batch "
                f"{progress.batch}. Give the same command again to go on."
            )


def finish(training, began) -> dict:
    """The last net and the summary, which says that the run is over."""
    options, progress = training.options, training.progress
    if options.ema:
        _average(options, training.state, training.data)
    training.save_net()
    write_logs(training.run, progress.history)
    test = training.score("test")
    weights = training.state.net.trainable_variables
    summary = {
        "run": str(training.run),
        **{f"test_{key}": value for key, value in test.items()},
        "parameters": sum(int(np.prod(v.shape)) for v in weights),
        "forward_flops_per_image": forward_flops(
            training.state.net, training.data.image_shape
        ),
        "images_per_second": progress.updates * options.batch_size / progress.seconds,
        "train_seconds": progress.seconds,
        "wall_seconds": time.perf_counter() - began,
        "epochs": options.epochs,
    }
    checkpoint.write_json(
        training.run / "summary.json", {**summary, "history": progress.history}
    )
    return summary


def _is_best(history) -> bool:
    """Whether the last epoch has the highest validation accuracy so far."""
    scores = [logs.get("val_accuracy", 0.0) for logs in history]
    return scores[-1] >= max(scores)


def _programs(options, state, strategy, jit):
    """(train, evaluate): the graphs of the current net."""
    l2 = options.weight_decay if options.weight_decay_mode == "l2" else 0.0

    def train(images, labels):
        return steps.train_step(
            state.net,
            state.optimizer,
            images,
            labels,
            batch_size=options.batch_size,
            weight_decay=l2,
            smoothing=options.label_smoothing,
        )

    def evaluate(images, labels):
        return steps.eval_step(state.net, images, labels)

    return (
        steps.distributed(train, strategy, jit),
        steps.distributed(evaluate, strategy, jit),
    )


def _average(options, state, data):
    """Ends with the moving average of the weights and statistics that fit them."""
    state.optimizer.finalize_variable_values(state.net.trainable_variables)
    batches = train_batches(
        data, options.batch_size, options.seed, options.epochs, options.augment
    )
    recalibrate(state.net, batches.take(_RECALIBRATION_BATCHES))


def _callbacks(options, run, net, per_epoch):
    callbacks = []
    if options.tensorboard:
        callbacks.append(
            keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False)
        )
    return keras.callbacks.CallbackList(
        callbacks,
        add_progbar=options.verbose > 0,
        model=net,
        verbose=options.verbose,
        epochs=options.epochs,
        steps=per_epoch,
    )


def _depth(net):
    """Steps of the first block, or 0 for nets of fixed depth: a number for the log."""
    return net.blocks[0].steps if net.blocks else 0
