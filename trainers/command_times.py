"""Times the commands, and how much of that is start-up."""

import pathlib
import subprocess
import sys
import tempfile
import time

from trainers import onednn, results
from trainers.errors import OptionError

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Run in this order, in one folder: later commands use the run of the first.
COMMANDS = {
    "train, one epoch of digits": (
        "trainers/train.py",
        "--dataset=digits",
        "--preset=digits",
        "--epochs=1",
    ),
    "evaluate": ("trainers/evaluate.py",),
    "export, SavedModel": ("export/saved_model.py",),
    "export, TFLite": ("export/tflite.py",),
    "export, ONNX": ("export/onnx_graph.py",),
    "report": ("export/report.py",),
}


def rows_of(commands: dict, tell=print) -> list[dict]:
    """Runs commands in turn in an empty folder, each followed by its --help.

    Args:
        commands: By name, a script below the root of the repository and its flags.
        tell: Called with a line per measurement.

    Returns:
        A row per command: its wall time, and the share of Python, imports and flags,
        which is all that --help does.

    Raises:
        OptionError: a command fails.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands.items():
            work, help = (_seconds(command, more, folder) for more in ((), ("--help",)))
            rows.append({"command": name, "wall_s": work, "start_s": help})
            tell(f"{name}: {work:.1f} s, of which start {help:.1f} s", flush=True)
    return rows


def _seconds(command, more, folder) -> float:
    script, *flags = command
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *flags, *more],
        cwd=folder,
        env=onednn.user_environment(),
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    # absl exits with 1 after --help.
    if done.returncode and not more:
        words = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise OptionError(f"--commands: expected {script} to succeed. Received {words}")
    return results.digits(seconds)


COLUMNS = {
    "command": lambda row: row["command"],
    "wall, s": lambda row: f"{row['wall_s']:.1f}",
    "of which start, s": lambda row: f"{row['start_s']:.1f}",
    "work, s": lambda row: f"{row['wall_s'] - row['start_s']:.1f}",
}
