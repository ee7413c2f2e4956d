"""A run under way: its net and optimizer, their graphs and batches."""

import dataclasses
import json

from cnet_tf import checkpoint
from cnet_tf.manifestation import recalibrate
from trainers import snapshots, steps
from trainers.broadcast import shared_folder
from trainers.data.batches import eval_batches, train_batches
from trainers.data.errors import refuse
from trainers.growth import State
from trainers.members import members, turns
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
        programs: (updates, score), the graphs of the net, of which updates take turns;
            None before they are made.
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
            updates = [
                steps.training_program(
                    net,
                    self.state.optimizer,
                    place.strategy,
                    place.jit,
                    batch_size=place.batch_size,
                    weight_decay=options.weight_decay if l2 else 0.0,
                    smoothing=options.label_smoothing,
                    members=members,
                    member_weight=options.any_depth_weight,
                    member_targets=options.any_depth_targets,
                )
                for members in turns(net)
            ]
            self.programs = updates, steps.evaluation_program(net, place.strategy)
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
        return self._score(self.make_programs()[1], split)

    def score_members(self, split) -> dict[str, float]:
        """Accuracy of each member by name."""
        strategy = self.plan.place.strategy
        return {
            name: self._score(steps.evaluation_program(twin, strategy), split)[
                "accuracy"
            ]
            for name, twin in members(self.state.net).items()
        }

    def _score(self, program, split):
        batches = eval_batches(self.plan.data, split, _EVALUATED)
        return steps.evaluate_with(program, batches, self.plan.place.strategy)

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
        for one in (net, *members(net).values()):
            recalibrate(one, batches.take(_RECALIBRATION_BATCHES))

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
    changed = [key for key in now if now[key] != then.get(key)]
    if changed:
        refuse(
            "dataset",
            f"the data that the run began with, {changed[0]} {then.get(changed[0])}",
            str(now[changed[0]]),
            "restore them, or begin a new run with --noresume",
        )
