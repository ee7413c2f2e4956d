"""A run under way: trains, scores, saves and restores its net and optimizer."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf
from keras import ops

from cnet_tf import checkpoint
from cnet_tf.manifestation import recalibrate
from trainers import snapshots, steps
from trainers.broadcast import shared_folder
from trainers.data import ImageData
from trainers.data.batches import eval_batches, train_batches
from trainers.growth import State
from trainers.logs import write as write_logs
from trainers.options import Options
from trainers.run_directory import writing
from trainers.schedule import make_optimizer, value_at
from trainers.snapshots import Progress
from trainers.strategy import shared_batches

# Images of a batch of evaluation.
_EVALUATED = 500

# Batches that re-estimate the batch norms of averaged weights.
_RECALIBRATION_BATCHES = 20


class NotFinite(Exception):
    """The loss, its gradient or a weight is no longer finite."""


@dataclasses.dataclass
class Training:
    """A run under way; everything is called in the scope of its strategy.

    Attributes:
        options: The options of the run.
        data, per_epoch: What it trains on, and the batches of an epoch.
        strategy, jit: Where it runs, and whether XLA compiles the steps.
        run: Its directory; None on workers that write nothing.
        state: Net and optimizer.
        progress: How far it has come.
        metadata: Saved with every net.
        programs: (update, score), the graphs of the net; None before they are made.
    """

    options: Options
    data: ImageData
    per_epoch: int
    strategy: tf.distribute.Strategy
    jit: bool
    run: pathlib.Path | None
    state: State
    metadata: dict
    progress: Progress = dataclasses.field(default_factory=Progress)
    programs: tuple | None = None

    def make_programs(self):
        """Graphs hold the net they were traced with: growth needs new ones."""
        if self.programs is None:
            net, options = self.state.net, self.options
            l2 = options.weight_decay_mode == "l2"
            update = steps.training_program(
                net,
                self.state.optimizer,
                self.strategy,
                self.jit,
                batch_size=options.batch_size,
                weight_decay=options.weight_decay if l2 else 0.0,
                smoothing=options.label_smoothing,
            )
            self.programs = update, steps.evaluation_program(net, self.strategy)
        return self.programs

    def replace(self, state):
        """Replaces net and optimizer."""
        self.state, self.programs = state, None

    def restore(self, snapshot) -> bool:
        """Restores the chief's snapshot, if there is one.

        Args:
            snapshot: The chief's, or None; None on other workers.
        """
        with shared_folder(self.strategy, snapshot and snapshot.folder) as folder:
            if folder is None:
                return False
            net, optimizer, self.progress = snapshots.load(
                # A copy that another worker was sent has not been hashed yet.
                snapshot or snapshots.verify(folder),
                lambda net: make_optimizer(self.options, net.trainable_variables),
            )
        self.replace(State(net, optimizer))
        return True

    def snapshot(self, interrupted=False):
        """Saves all that is needed to resume from here.

        Raises:
            NotFinite: see `check`; nothing is saved.
        """
        self.check()
        if self.run:
            with writing(self.options.runs_dir):
                snapshots.save(
                    self.run,
                    self.state.net,
                    self.state.optimizer,
                    self.progress,
                    self.metadata,
                    self.options.keep,
                    interrupted,
                )

    def check(self):
        """Raises `NotFinite` where a weight, a statistic or a slot is not finite."""
        for variable in self.state.net.variables + self.state.optimizer.variables:
            if not np.all(np.isfinite(ops.convert_to_numpy(variable))):
                raise NotFinite(f"{variable.path} is not finite")

    def save_net(self, name="net"):
        """Saves the net alone, for evaluation and export.

        Raises:
            NotFinite: see `check`; nothing is saved.
        """
        self.check()
        if self.run:
            with writing(self.options.runs_dir):
                checkpoint.save(self.state.net, self.run / name, self.metadata)

    def log(self):
        """Writes the logs of the epochs so far."""
        if self.run:
            with writing(self.options.runs_dir):
                write_logs(self.run, self.progress.history)

    def score(self, split) -> dict[str, float]:
        """Loss and accuracy of the net as it is."""
        batches = eval_batches(self.data, split, _EVALUATED)
        return steps.evaluate_with(self.make_programs()[1], batches, self.strategy)

    def rest_of_epoch(self):
        """The remaining batches of the current epoch."""
        options, progress = self.options, self.progress

        def shard(shards, index):
            return train_batches(
                self.data,
                options.batch_size,
                options.seed,
                progress.epoch,
                options.augment,
                skip_batches=progress.batch,
                shards=shards,
                shard=index,
                cutout=options.cutout,
                side=value_at(options.image_sizes, progress.epoch),
            ).take(self.per_epoch - progress.batch)

        return shared_batches(self.strategy, options.batch_size, shard)

    def average(self):
        """Replaces the weights by their moving averages, recalibrated on batches."""
        net, options = self.state.net, self.options
        self.state.optimizer.finalize_variable_values(net.trainable_variables)
        batches = train_batches(
            self.data,
            options.batch_size,
            options.seed,
            options.epochs,
            options.augment,
            cutout=options.cutout,
        )
        recalibrate(net, batches.take(_RECALIBRATION_BATCHES))
