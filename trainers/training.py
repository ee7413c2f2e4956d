"""A run under way: its net and optimizer, their graphs and batches."""

import dataclasses
import json

from cnet_tf import checkpoint
from cnet_tf.manifestation import recalibrate
from trainers import snapshots, steps
from trainers.broadcast import shared_folder
from trainers.data.batches import eval_batches, train_batches
from trainers.data.errors import refuse
from trainers.data.images import PLACES
from trainers.growth import State
from trainers.plan import Plan
from trainers.recorder import Recorder
from trainers.schedule import make_optimizer, value_at
from trainers.snapshots import Progress

# Images of a batch of evaluation.
_EVALUATED = 500

# Batches that re-estimate the batch norms of averaged weights.
_RECALIBRATION_BATCHES = 20


@dataclasses.dataclass
class Training:
    """A run under way; everything is called in the scope of its strategy.

    Attributes:
        plan: What it does.
        recorder: Writes what it leaves on disk.
        state: Net and optimizer.
        progress: How far it has come.
        programs: (update, score), the graphs of the net; None before they are made.
    """

    plan: Plan
    recorder: Recorder
    state: State
    progress: Progress = dataclasses.field(default_factory=Progress)
    programs: tuple | None = None

    def make_programs(self):
        """Graphs hold the net they were traced with: growth needs new ones."""
        if self.programs is None:
            net, options, place = self.state.net, self.plan.options, self.plan.place
            l2 = options.weight_decay_mode == "l2"
            update = steps.training_program(
                net,
                self.state.optimizer,
                place.strategy,
                place.jit,
                batch_size=place.batch_size,
                weight_decay=options.weight_decay if l2 else 0.0,
                smoothing=options.label_smoothing,
            )
            self.programs = update, steps.evaluation_program(net, place.strategy)
        return self.programs

    def replace(self, state):
        """Replaces net and optimizer."""
        self.state, self.programs = state, None

    def restore(self, snapshot) -> bool:
        """Restores the chief's snapshot, if there is one.

        Args:
            snapshot: The chief's, or None; None on other workers.

        Raises:
            DataError: the data are not those that the run began with.
        """
        with shared_folder(self.plan.place, snapshot and snapshot.folder) as folder:
            if folder is None:
                return False
            _check_data(checkpoint.metadata(folder / "net"), self.plan.metadata)
            net, optimizer, self.progress = snapshots.load(
                # A copy that another worker was sent has not been hashed yet.
                snapshot or snapshots.verify(folder),
                lambda net: make_optimizer(self.plan.options, net.trainable_variables),
            )
        self.replace(State(net, optimizer))
        return True

    def score(self, split) -> dict[str, float]:
        """Loss and accuracy of the net as it is."""
        batches = eval_batches(self.plan.data, split, _EVALUATED)
        score = self.make_programs()[1]
        return steps.evaluate_with(score, batches, self.plan.place.strategy)

    def rest_of_epoch(self):
        """The remaining batches of the current epoch."""
        plan, first = self.plan, self.progress.batch

        def shard(shards, index):
            batches = self._train_batches(
                self.progress.epoch,
                skip_batches=first,
                shards=shards,
                shard=index,
                side=value_at(plan.options.image_sizes, self.progress.epoch),
            )
            return batches.take(plan.per_epoch - first)

        return plan.place.batches(shard)

    def average(self):
        """Replaces the weights by their moving averages, recalibrated on batches."""
        net = self.state.net
        self.state.optimizer.finalize_variable_values(net.trainable_variables)
        # Of an epoch that is not trained.
        batches = self._train_batches(self.plan.options.epochs)
        recalibrate(net, batches.take(_RECALIBRATION_BATCHES))

    def _train_batches(self, epoch, **part):
        options, size = self.plan.options, self.plan.place.batch_size
        return train_batches(
            self.plan.data,
            size,
            options.seed,
            epoch,
            options.augment,
            cutout=options.cutout,
            **part,
        )


def _check_data(then: dict, now: dict) -> None:
    """Refuses to train on with other classes, shapes or statistics of the images."""
    then, now = then["data"], json.loads(json.dumps(now["data"]))
    changed = [
        key
        for key in now
        # Not known to runs of before, or only where the data lie.
        if key in then and key not in PLACES and now[key] != then[key]
    ]
    if changed:
        refuse(
            "dataset",
            f"the data that the run began with, {changed[0]} {then[changed[0]]}",
            str(now[changed[0]]),
            "restore them, or begin a new run with --noresume",
        )
