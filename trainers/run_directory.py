"""runs/<name>-<time>/: everything needed to read, repeat and trust a run.

options.json        the options; the same command finds the run by those that decide
                    numbers
lock                held by the training process; released when it ends
snapshots/          what training needs to resume (trainers/snapshots.py)
flags.txt           replay with `python trainers/train.py --flagfile=<run>/flags.txt`
environment.json    versions, machine, git revision, command; earlier starts of the run
net/                the net (cnet_tf/checkpoint.py), rewritten after every epoch
best/               the net with the best validation accuracy so far
log.csv             one row per epoch, identical for identical runs
timing.csv          seconds and speed of the epochs, which differ
tensorboard/        the same as curves
summary.json        results at the end of the run; summary-30.json holds those at epoch
                    30 of a run that was extended
"""

import contextlib
import dataclasses
import errno
import os
import pathlib
import secrets

from cnet_tf import plain_file
from cnet_tf.atomic_file import write_json
from trainers import identity, run_lock, run_name
from trainers.errors import OptionError
from trainers.option_table import COURSE, PROCESS
from trainers.run_lock import RunLock

LATEST = "latest"
_OPTIONS = "options.json"
_SUMMARY = "summary.json"
# Options whose entries begin with an epoch.
_BY_EPOCH = ("refine_epochs", "decay_epochs", "grow", "image_sizes")
_MOST_NAMED = 3  # Options named in one line.
# To wait for another process's search for a run, which takes far less.
_PATIENCE_SECONDS = 60.0


class Running(Exception):
    """The same command is running already; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A readable run directory."""

    path: pathlib.Path
    options: dict
    finished: bool

    @property
    def first_part(self) -> str:
        """The name without the time."""
        return run_name.first_part_of(self.path)


@dataclasses.dataclass(frozen=True)
class Start:
    """The run to train in.

    Attributes:
        path: Its directory.
        lock: To be held while training.
        line: How the run was found, in words.
        found: Whether the run already existed.
        extended: Its epochs before it was extended, or None.
    """

    path: pathlib.Path
    lock: RunLock
    line: str
    found: bool = True
    extended: int | None = None


def start(options, wanted: dict) -> Start:
    """Finds the run to continue, or makes one; locks it.

    Args:
        options: The `Options`; with `resume` off the run is always new, with `extend`
            a run of fewer epochs is continued.
        wanted: Options by name that decide the numbers, see `Identity`.

    Raises:
        Running: a process trains in that run.
        OptionError: there is no run to extend.
    """
    runs_dir = pathlib.Path(options.runs_dir)
    runs_dir.mkdir(parents=True, exist_ok=True)
    # One process at a time: two that start together would not see each other's run.
    with run_lock.of_folder(runs_dir, _PATIENCE_SECONDS):
        found = _search(options, wanted, runs_dir)
        if isinstance(found, str):
            run = create(runs_dir, run_name.first_part(options))
            lock = _lock(run)
            _write_options(run, options, wanted)
            found = Start(run, lock, f"New run{found}: {run}.", found=False)
        elif found.extended:
            _extend(found, options, wanted)
        _point(runs_dir, found.path)
    return found


def _search(options, wanted, runs_dir) -> "Start | str":
    """Returns the run to continue, locked; or why there is none, in words."""
    if not options.resume:
        return " because of --noresume"
    first = run_name.first_part(options)
    runs = [run for run in _stored(runs_dir) if run.first_part == first]
    equal = [run for run in runs if not identity.differences(run.options, wanted)]
    for run in equal:
        if not run.finished:
            return Start(run.path, _lock(run.path), f"Resumes {run.path}")
    shorter = [run for run in runs if _is_shorter(run.options, wanted)]
    if options.extend:
        if not shorter:
            raise OptionError(_nothing_to_extend(options, wanted, runs))
        run = shorter[0].path
        epochs = identity.completed(shorter[0].options)["epochs"]
        line = f"Extends {run} from {epochs} to {wanted['epochs']} epochs"
        return Start(run, _lock(run), line, extended=epochs)
    if equal:
        return f" because {equal[0].path} with the same flags is finished"
    return _why_new(wanted, runs, bool(shorter))


def _why_new(wanted, runs, extensible) -> str:
    unfinished = [run for run in runs if not run.finished]
    if not (near := _nearest(wanted, unfinished)):
        if extensible:
            return " (--extend continues a finished one with fewer --epochs)"
        return ""
    path, differences = near
    names = ", ".join(differences[:_MOST_NAMED])
    if more := len(differences) - _MOST_NAMED:
        names += f" and {more} more differ" if more > 0 else ""
    hint = "; --extend continues that one" * extensible
    return f" because {names} from the unfinished {path}{hint}"


def _nothing_to_extend(options, wanted, runs) -> str:
    near = _nearest(wanted, runs)
    found = f"the nearest is {near[0]}: {', '.join(near[1])}" if near else "none"
    if near and not near[1]:
        found = f"{near[0]}, which has that many and is finished: raise --epochs"
    return (
        f"--extend: expected a run with the same flags and fewer than "
        f"--epochs={wanted['epochs']} in {options.runs_dir}. Received {found}. Entries "
        f"of {', '.join(f'--{name}' for name in _BY_EPOCH)} may be added from its last "
        "epoch on."
    )


def _nearest(wanted, runs):
    """Returns (path, differences) of the run with the fewest, the newest if tied."""
    near = [(run.path, identity.differences(run.options, wanted)) for run in runs]
    return min(near, key=lambda found: len(found[1]), default=None)


def _is_shorter(stored, wanted) -> bool:
    """Whether a run has fewer epochs and is the same up to its end."""
    stored = identity.completed(stored)
    end = stored["epochs"]
    if not isinstance(end, int) or end >= wanted["epochs"]:
        return False
    for name in identity.differing(stored, wanted):
        if name == "epochs":
            continue
        if name not in _BY_EPOCH:
            return False
        if stored[name] != [e for e in wanted[name] if _epoch(e) < end]:
            return False
    return True


def _epoch(entry) -> int:
    return entry[0] if isinstance(entry, list) else entry


def _write_options(run, options, wanted):
    """Writes all options, though only those that decide the numbers are compared."""
    rest = identity.named(options, COURSE, PROCESS)
    write_json(run / _OPTIONS, {**rest, **wanted})


def _extend(found: Start, options, wanted):
    """Gives a run more epochs; its results so far stay beside the new ones.

    If the process is killed between the two steps, the run can still be extended.
    """
    with contextlib.suppress(FileNotFoundError):
        os.replace(found.path / _SUMMARY, found.path / f"summary-{found.extended}.json")
    _write_options(found.path, options, wanted)


def _stored(runs_dir) -> list[Stored]:
    """Lists the runs of a folder, newest first; skips what cannot be read."""
    found = []
    for path in sorted(runs_dir.iterdir(), key=run_name.order, reverse=True):
        if path.is_symlink() or not path.is_dir():
            continue
        try:
            # Somebody else's link: a write to it would end up elsewhere.
            if any(entry.is_symlink() for entry in os.scandir(path)):
                continue
            options = plain_file.read_json(path / _OPTIONS)
        except (OSError, plain_file.PlainFileError):
            continue
        finished = (path / _SUMMARY).exists()
        found.append(Stored(path, options, finished))
    return found


def _lock(run) -> RunLock:
    if lock := run_lock.acquire(run):
        return lock
    raise Running(
        f"The same command is running: {run_lock.owner(run)} trains in {run}. Wait for "
        "it to end, or start another run with --noresume."
    )


def create(runs_dir, first: str) -> pathlib.Path:
    """Makes a run directory that no other process has."""
    runs_dir = pathlib.Path(runs_dir)
    runs_dir.mkdir(parents=True, exist_ok=True)
    there = [path for path in runs_dir.iterdir() if not path.is_symlink()]
    for name in run_name.new_names(first, there):
        with contextlib.suppress(FileExistsError):
            (runs_dir / name).mkdir()
            return runs_dir / name


def _point(runs_dir, run):
    """Points runs/latest at a run, for convenience: some drives have no links."""
    for left in runs_dir.glob(f"tmp-*-{LATEST}"):  # From a process that was killed.
        left.unlink(missing_ok=True)
    link = runs_dir / f"tmp-{secrets.token_hex(8)}-{LATEST}"
    try:
        link.symlink_to(run.name)
        os.replace(link, runs_dir / LATEST)
    except OSError as error:
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
        print(
            f"note: {runs_dir / LATEST} cannot point at {run} ({error.strerror}): pass "
            f"--run={run} to other commands",
            flush=True,
        )


# What to do about a system error, by its message; otherwise the folder needs repair.
_REMEDIES = {
    os.strerror(code): remedy
    for codes, remedy in (
        ((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room"),
        ((errno.EACCES, errno.EPERM, errno.EROFS), "Make it writable"),
    )
    for code in codes
}


@contextlib.contextmanager
def writing(runs_dir, *others):
    """Turns a failed write into a one-line error.

    Use it only around writes to the run directory, so that any other OSError, such as a
    broken pipe of the terminal, keeps its meaning.

    Args:
        runs_dir: The folder that the user named.
        *others: Exceptions that a library raises instead of OSError.

    Raises:
        OptionError: instead of a system error.
    """
    try:
        yield
    except (OSError, *others) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        # Libraries embed the system's message in a line of their own.
        reason = reason.rpartition("}} ")[-1]
        found = (remedy for words, remedy in _REMEDIES.items() if words in reason)
        remedy = next(found, "Repair it")
        raise OptionError(
            f"--runs_dir: expected a folder that can be written. Received "
            f"{str(runs_dir)!r}: {reason}. {remedy} or choose another; what "
            "was saved is intact, and the same command continues from there."
        ) from error
