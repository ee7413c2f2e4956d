"""runs/<name>-<time>/: everything that is needed to read, repeat and trust a run.

options.json        the options; the same command finds its unfinished run by them
lock                held by the process that trains; free when that ends
snapshots/          what training needs to resume (trainers/snapshots.py)
flags.txt           replay with `python trainers/train.py --flagfile=<run>/flags.txt`
environment.json    versions, machine, git revision, command; earlier starts of the run
net/                the net (cnet_tf/checkpoint.py), renewed after every epoch
best/               the net with the best validation accuracy so far
log.csv             a row an epoch, the same for the same run
timing.csv          seconds and speed of the epochs, which are not
tensorboard/        the same as curves
summary.json        results at the end of the run
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib

from cnet_tf import plain_file
from cnet_tf.atomic_file import write_json
from trainers.errors import OptionError

LATEST = "latest"
_OPTIONS = "options.json"
# Options that do not change what a run computes.
_INCIDENTAL = ("resume", "max_minutes", "verbose", "data_dir", "runs_dir")


def start(options) -> tuple[pathlib.Path, object]:
    """The newest unfinished run of these options, or a new one; and its lock.

    Args:
        options: The `Options`; with `resume` off the run is always a new one.

    Returns:
        (run, lock): hold on to the lock while training.
    """
    runs_dir, identity = pathlib.Path(options.runs_dir), _identity(options)
    if options.resume and runs_dir.is_dir():
        # By name: the times in them sort.
        for run in sorted(runs_dir.iterdir(), reverse=True):
            if _is_unfinished(run, identity) and (lock := _lock(run)):
                return run, lock
    run = create(runs_dir, name_of(options))
    write_json(run / _OPTIONS, identity)
    return run, _lock(run)


def name_of(options) -> str:
    """The first part of the name of a run directory."""
    net = pathlib.Path(options.model).stem if options.model else options.preset
    name = options.name or f"{options.dataset}-{net}".replace("/", "-")
    return name.replace(":", "")


def _identity(options) -> dict:
    """The options that identify a run, as JSON stores them."""
    found = dataclasses.asdict(options)
    for name in _INCIDENTAL:
        del found[name]
    found["model"] = _digest(options.model)
    return json.loads(json.dumps(found))


def _digest(model) -> str | None:
    """The sha256 of the file that a run starts from: another file is another run."""
    if not model:
        return None
    try:
        return plain_file.sha256(model, follow=True)
    except plain_file.PlainFileError as error:
        raise OptionError(f"--model: expected a .keras file. {error}") from error


def _is_unfinished(run, identity) -> bool:
    if run.is_symlink() or not run.is_dir() or (run / "summary.json").exists():
        return False
    try:
        # Of a stranger: what is written there would be written elsewhere.
        if any(entry.is_symlink() for entry in os.scandir(run)):
            return False
        return plain_file.read_json(run / _OPTIONS) == identity
    except (OSError, plain_file.PlainFileError):
        return False


def _lock(run):
    """An open file that other processes see locked, or None if one of them was first.

    The system gives a lock back when its process ends, however it ends.
    """
    # Neither truncated nor, if it is a link, followed.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.fdopen(os.open(run / "lock", flags, 0o666), "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def create(runs_dir, name) -> pathlib.Path:
    """Makes runs/<name>-<time> and points runs/latest at it."""
    runs_dir = pathlib.Path(runs_dir)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    runs_dir.mkdir(parents=True, exist_ok=True)
    for i in range(100):
        run = runs_dir / (f"{name}-{stamp}" + (f"-{i}" if i else ""))
        try:
            run.mkdir()
            break
        except FileExistsError:
            continue
    link = runs_dir / f"tmp-{os.getpid()}-{LATEST}"
    link.symlink_to(run.name)
    os.replace(link, runs_dir / LATEST)
    return run


@contextlib.contextmanager
def writing(runs_dir):
    """Turns a failed write into a one-line error.

    Only around writes to the run directory: another OSError, such as a broken pipe of
    the terminal, keeps its meaning.

    Raises:
        OptionError: instead of an error of the system.
    """
    try:
        yield
    except OSError as error:
        raise OptionError(
            f"--runs_dir: expected a folder that can be written. Received "
            f"{str(runs_dir)!r}: {error.strerror}. Make room or choose another; what "
            "was saved is whole, and the same command goes on from there."
        ) from error
