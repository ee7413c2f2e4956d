"""Records how and on what a run was started: flags.txt and environment.json."""

import datetime
import importlib
import os
import pathlib
import platform
import subprocess
import sys

import keras

from cnet_tf import plain_file
from cnet_tf.atomic_file import write_bytes, write_json
from trainers import onednn
from trainers.data.errors import tell
from trainers.option_table import flagfile

# Names of modules, as TensorFlow is distributed under several names.
_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow_datasets")
_ROOT = pathlib.Path(__file__).resolve().parent.parent

# What the last bits of sums depend on, besides the code.
_KERNELS = ("onednn", "processor", "accelerators", "backend")
# What is kept of an earlier start.
_KEPT = ("started", *_KERNELS, "code", "epochs", "extended_from")


def describe(run: pathlib.Path, plan, extended: int | None = None):
    """Writes flags.txt and environment.json, which also lists earlier starts.

    Prints a line where the run resumes with other kernels.

    Args:
        run: The run directory.
        plan: What the run does.
        extended: The epochs that the run had before this start extended it, or None.
    """
    path = run / "environment.json"
    last = _last(path)
    found = {
        **environment(),
        "digest": plan.identity.digest,
        "code": plan.identity.code,
        "epochs": plan.options.epochs,
        "extended_from": extended,
        "earlier_starts": _starts(last),
    }
    for name in _KERNELS:
        if name in last and last[name] != found[name]:
            tell(
                f"{name} is {found[name]} and was {last[name]} when the run last "
                "started: it may end with different bits than one that never stopped"
            )
    flags = flagfile(plan.options).encode()
    write_bytes(run / "flags.txt", flags)
    write_json(path, found)


def _last(path) -> dict:
    """Reads what the last start wrote; empty for a new run."""
    try:
        return plain_file.read_json(path)
    except plain_file.PlainFileError:
        return {}


def _starts(last) -> list[dict]:
    """Lists when and on what the run was started so far: other kernels, other bits."""
    if not last:
        return []
    shown = {key: last.get(key) for key in _KEPT}
    earlier = last.get("earlier_starts")
    return [*(earlier if isinstance(earlier, list) else []), shown]


def environment() -> dict:
    """Returns versions, machine, git revision and command of this process."""
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
        "accelerators": _accelerators(),
        "onednn": onednn.setting(),
        "backend": keras.backend.backend(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def revision() -> str | None:
    """Returns the short git revision; None outside a clone."""
    return _git("rev-parse", "--short", "HEAD")


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line for line in file if line.startswith("model name")]
        return names[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor()


def _accelerators() -> list[str]:
    """Names the GPUs that the backend finds; on JAX the TPUs, too."""
    if keras.backend.backend() == "jax":
        devices = importlib.import_module("jax").local_devices()
        return [device.device_kind for device in devices if device.platform != "cpu"]
    config = importlib.import_module("tensorflow").config
    return [
        config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in config.list_physical_devices("GPU")
    ]


def _git(*arguments):
    try:
        return subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
