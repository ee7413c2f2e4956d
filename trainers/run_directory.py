"""runs/<name>-<time>/: everything that is needed to read, repeat and trust a run.

flags.txt           replay with `python trainers/train.py --flagfile=<run>/flags.txt`
environment.json    versions, machine, git revision, command
net/                the net (cnet_tf/checkpoint.py), renewed after every epoch
log.csv             a row an epoch
tensorboard/        the same as curves
summary.json        results at the end of the run
"""

import datetime
import importlib
import os
import pathlib
import platform
import subprocess
import sys

from absl import flags

from cnet_tf.checkpoint import write_json
from trainers.errors import OptionError

LATEST = "latest"
# By module: TensorFlow is distributed under several names.
_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow_datasets")
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def create(runs_dir, name) -> pathlib.Path:
    """Makes runs/<name>-<time> and points runs/latest at it.

    Raises:
        OptionError: the path cannot be written.
    """
    runs_dir = pathlib.Path(runs_dir)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    run = None
    try:
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
    except OSError as error:
        raise OptionError(
            f"--runs_dir: expected a directory that can be written. Received "
            f"{str(runs_dir)!r}: {error.strerror}. Choose another."
        ) from None
    return run


def describe(run: pathlib.Path, flag_values=flags.FLAGS):
    """Writes flags.txt and environment.json."""
    (run / "flags.txt").write_text(replayable(flag_values))
    write_json(run / "environment.json", environment())


def replayable(flag_values) -> str:
    """Every flag of a run, as a flagfile; the package's own flags only."""
    from trainers.options import Options

    lines = []
    for field in Options.__dataclass_fields__:
        flag = flag_values[field]
        if flag.value is not None and flag.value != []:
            lines.append(flag.serialize())
    return "\n".join(lines) + "\n"


def environment() -> dict:
    """Versions, machine, git revision and command of this process."""
    return {
        "command": " ".join(sys.argv),
        "git": _git("rev-parse", "HEAD"),
        "git_changes": _git("status", "--porcelain"),
        "python": platform.python_version(),
        "packages": {
            name: importlib.import_module(name).__version__ for name in _PACKAGES
        },
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line for line in file if line.startswith("model name")]
        return names[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor()


def _git(*arguments):
    try:
        return subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
