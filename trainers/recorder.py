"""Writes what a run leaves on disk.

No other module of the training loop writes files, except for the curves, which a Keras
callback writes.
"""

import contextlib
import dataclasses
import pathlib

import numpy as np
from keras import ops

from cnet_tf import checkpoint, escaping
from cnet_tf.atomic_file import write_json
from trainers import logs, run_directory, snapshots
from trainers.environment import describe
from trainers.growth import State
from trainers.plan import Plan
from trainers.run_directory import Start, writing
from trainers.schedule import extension
from trainers.snapshots import Progress, Snapshot


class NotFinite(Exception):
    """The loss, its gradient or a weight is no longer finite."""


@dataclasses.dataclass(frozen=True)
class Recorder:
    """Writes to a run directory, each file whole or not at all.

    A failed write raises a one-line OptionError, see `writing`.

    Attributes:
        plan: What the run does.
        run: Its directory; None on workers that write nothing.
        start: How the directory was found.
    """

    plan: Plan
    run: pathlib.Path | None
    start: Start | None = None

    def tell_start(self, progress: Progress, resumed: bool) -> None:
        """Prints a line that says whether the run is new, resumed or extended.

        Args:
            progress: Where it continues.
            resumed: Whether it continues from a snapshot.
        """
        if not self.start:
            return
        line = self.start.line
        if self.start.found:
            where = f"epoch {progress.epoch}, batch {progress.batch}"
            line += f" from {where if resumed else 'its beginning'}."
        if self.start.extended:
            said = extension(self.plan.options, self.plan.per_epoch, progress)
            line += f" {said}."
        # It names options of runs that others may have put there.
        print(escaping.line(line), flush=True)

    def newest(self) -> Snapshot | None:
        """Finds the newest whole snapshot."""
        return self.run and snapshots.newest(self.run)

    def go_back(self, updates: int) -> Snapshot | None:
        """Finds the newest whole snapshot with fewer updates; removes later ones."""
        with self._writing():
            return self.run and snapshots.go_back(self.run, updates)

    def save(self, state: State, progress: Progress, interrupted=False) -> None:
        """Saves everything needed to resume from here.

        Raises:
            NotFinite: a weight, statistic or slot is non-finite; nothing is saved.
        """
        _check(state)
        if self.run:
            net, optimizer, keep = state.net, state.optimizer, self.plan.options.keep
            metadata = self.plan.metadata
            with self._writing():
                snapshots.save(
                    self.run, net, optimizer, progress, metadata, keep, interrupted
                )

    def save_net(self, state: State, name="net") -> None:
        """Saves the net alone, for evaluation and export.

        Raises:
            NotFinite: as for `save`.
        """
        _check(state)
        if self.run:
            with self._writing():
                checkpoint.save(state.net, self.run / name, self.plan.metadata)

    def log(self, history: list[dict]) -> None:
        """Writes the logs of the epochs so far."""
        if self.run:
            with self._writing():
                logs.write(self.run, history)

    def end(self, summary: dict) -> None:
        """Writes the summary, which marks the run as finished."""
        if self.run:
            with self._writing():
                write_json(self.run / "summary.json", summary)

    def _writing(self):
        return writing(self.plan.options.runs_dir)


@contextlib.contextmanager
def opened(plan: Plan):
    """Finds or makes the chief's run directory, and locks it.

    Yields:
        A `Recorder`.

    Raises:
        Running, OptionError: see `run_directory.start`.
    """
    if not plan.place.chief:
        yield Recorder(plan, None)
        return
    with contextlib.ExitStack() as held:
        with writing(plan.options.runs_dir):
            # The options of its identity: more replicas may make a larger batch from
            # the same given options, and that is another run.
            found = run_directory.start(plan.options, plan.identity.options)
            held.enter_context(found.lock)
            describe(found.path, plan, found.extended)
        yield Recorder(plan, found.path, found)


def _check(state):
    """Rejects non-finite numbers, also on workers that write nothing."""
    for variable in state.net.variables + state.optimizer.variables:
        if not np.all(np.isfinite(ops.convert_to_numpy(variable))):
            raise NotFinite(f"{variable.path} is not finite")
