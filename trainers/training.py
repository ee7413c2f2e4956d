"""A run in progress: its net and optimizer, their graphs and batches."""

import dataclasses
import json
from typing import NoReturn

from cnet_tf import checkpoint
from cnet_tf.any_depth import member_read, share_scales
from cnet_tf.manifestation import recalibrate, recalibrated, recalibrated_along
from trainers import growth, snapshots, steps
from trainers.broadcast import anyone, gathered, shared_folder
from trainers.data.batches import eval_batches, recalibration_batches, train_batches
from trainers.data.description import checked
from trainers.data.errors import tell
from trainers.growth import State
from trainers.interruption import Interrupted, Interruption
from trainers.members import members, turns
from trainers.plan import Plan
from trainers.recorder import Recorder
from trainers.schedule import make_optimizer, value_at
from trainers.snapshots import Progress
from trainers.steps import accuracy_of

# Images per batch of evaluation.
_EVALUATED = 500

# Batches that re-estimate the batch norms of averaged weights.
_RECALIBRATION_BATCHES = 20


@dataclasses.dataclass
class Training:
    """A run in progress; everything is called in the scope of its strategy.

    Attributes:
        plan: What the run does.
        recorder: Writes what it leaves on disk.
        state: Net and optimizer.
        interruption: Tells when to stop.
        progress: How far it has come.
        programs: (updates, score), the graphs of the net; the updates take turns. None
            before they are made.
    """

    plan: Plan
    recorder: Recorder
    state: State
    interruption: Interruption
    progress: Progress = dataclasses.field(default_factory=Progress)
    programs: tuple | None = None

    def make_programs(self):
        """Returns `programs`, making them if there are none.

        Graphs hold the net they were traced with, so growth needs new ones.
        """
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
                    members=turn,
                    member_weight=options.any_depth_weight,
                    member_targets=options.any_depth_targets,
                )
                for turn in turns(net)
            ]
            self.programs = updates, steps.evaluation_program(net, place.strategy)
        return self.programs

    def replace(self, state):
        """Replaces net and optimizer."""
        self.state, self.programs = state, None

    def factors_of_blocks(self, factor: int) -> list[int]:
        """Returns the factor of each block, as the chief finds it on 128 images."""
        plan = self.plan

        def images():
            return next(iter(recalibration_batches(plan.data, "none", 1)))[0]

        found = growth.factors_of_blocks(plan.options, factor, self.state.net, images)
        return json.loads(gathered(plan.place, json.dumps(found).encode())[0])

    def restore(self, snapshot) -> bool:
        """Restores the chief's snapshot; returns whether there is one.

        Args:
            snapshot: The chief's, or None; None on other workers.

        Raises:
            DataError: the data are not those that the run began with.
            SnapshotError: the snapshot belongs to another run.
        """
        with shared_folder(self.plan.place, snapshot and snapshot.folder) as folder:
            if folder is None:
                return False
            then = checkpoint.metadata(folder / "net")
            checked(then, folder)
            self.plan.identity.check_resumed(then, self._tell)
            net, optimizer, self.progress = snapshots.load(
                # The copy sent to another worker has not been hashed yet.
                snapshot or snapshots.verify(folder),
                lambda net: make_optimizer(self.plan.options, net.trainable_variables),
            )
        self.progress.check(self.plan.options.epochs, self.plan.per_epoch)
        self.replace(State(net, optimizer))
        return True

    def score(self, split) -> dict[str, float]:
        """Returns loss and accuracy of the current net.

        Raises:
            Interrupted: see `stop`.
        """
        return self._score(self.make_programs()[1], split)

    def score_members(self, split) -> dict[str, float]:
        """Returns the accuracy of each member by name.

        Raises:
            Interrupted: see `stop`.
        """
        strategy = self.plan.place.strategy
        return {
            name: accuracy_of(
                self._score(steps.evaluation_program(twin, strategy), split)
            )
            for name, twin in members(self.state.net).items()
        }

    def _score(self, program, split):
        batches = eval_batches(self.plan.data, split, _EVALUATED)
        found = steps.evaluate_with(
            program, batches, self.plan.place.strategy, self._asked
        )
        if found is None:
            self.stop()
        return found

    def stop(self) -> NoReturn:
        """Saves what is not yet saved, and stops.

        Raises:
            Interrupted: always.
        """
        progress, run = self.progress, self.recorder.run
        # The end of an epoch has its own snapshot.
        if progress.batch:
            self.recorder.save(self.state, progress, interrupted=True)
        raise Interrupted(
            f"{self.interruption.reason or 'another worker'}: {run or 'the run'} is "
            f"saved at epoch {progress.epoch}, batch {progress.batch}. Run the same "
            "command again to continue."
        )

    def rest_of_epoch(self):
        """Returns the remaining batches of the current epoch."""
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
        """Replaces the weights by their moving averages; recalibrates batch norms."""
        net = self.state.net
        self.state.optimizer.finalize_variable_values(net.trainable_variables)
        # Batches of an epoch that is never trained.
        batches = self._train_batches(self.plan.options.epochs)
        for one in (net, *members(net).values()):
            some = self._watched(batches.take(_RECALIBRATION_BATCHES))
            recalibrate(one, some, frozen=False)

    def recalibrate(self, count):
        """Replaces the net by a twin with statistics for each of its evaluations.

        Manifestations other than the net and its members read moments along depth, with
        the scales and shifts of the net.

        Args:
            count: Number of batches to estimate them on.
        """
        # Batches of another epoch that is never trained.
        batches = self._train_batches(self.plan.options.epochs + 1).take(count)
        share_scales(self.state.net)
        net = recalibrated(self.state.net, self._watched(batches))
        if member_read(net):
            net = recalibrated_along(net, self._watched(batches))
        self.replace(State(net, self.state.optimizer))

    def _watched(self, batches):
        """Yields batches until some worker asks to stop."""
        for batch in batches:
            if anyone(self.plan.place, self._asked()):
                self.stop()
            yield batch

    def _asked(self) -> bool:
        return self.interruption.reason is not None

    def _tell(self, line):
        if self.recorder.run:
            tell(line)

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
