"""Measures the latency of a call, and an artefact in a separate process.

    python export/measure.py <module>:<reader> <path> <signature> <image.npy> <threads>
        <runs> <json>

writes the JSON file. `measure` starts it, so that memory used by other artefacts does
not count. It imports only the module of the reader, see `runtimes`.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np


class MeasureError(RuntimeError):
    """An artefact cannot be run in its own process. The message is one line."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """Duration of a call in seconds.

    Attributes:
        median, low, high: The median, the 5th and the 95th percentile.
    """

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Cost(Latency):
    """Cost of one image.

    Attributes:
        peak_memory: Peak memory of the process in bytes, runtime and Python included.
    """

    peak_memory: int


def latency(call: Callable, runs: int = 50, warm_up: int = 5) -> Latency:
    """Times a call, as Python sees it.

    Args:
        call: Function of no arguments.
        runs: Timed calls, 1 or more. Default 50.
        warm_up: Calls before them, which are not counted. Default 5.
    """
    seconds = []
    for _ in range(warm_up + runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    low, median, high = np.percentile(seconds[warm_up:], [5, 50, 95]).tolist()
    return Latency(median, low, high)


def measure(
    reader: Callable, path, signature: str, image, threads: int = 1, runs: int = 50
) -> Cost:
    """Measures one signature of an artefact on one image, in a separate process.

    Args:
        reader: Function at the top level of a module, like those of `runtimes`.
            Memory includes everything that its module imports.
        path: Path of the artefact.
        signature: Name of the signature.
        image: Array (B, H, W, C) as the artefact takes it; B = 1 except in
            `benchmark.py`.
        threads: Threads of the runtime. Default 1.
        runs: Timed runs. Default 50.

    Raises:
        MeasureError: the process failed; the message ends with the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, result = pathlib.Path(folder, "image.npy"), pathlib.Path(folder, "result")
        np.save(file, image)
        name = f"{reader.__module__}:{reader.__qualname__}"
        arguments = [__file__, name, path, signature, file, threads, runs, result]
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            return Cost(**json.loads(result.read_text()))
        except (OSError, ValueError):
            raise MeasureError(
                f"measure: {path}: expected a result. Received: {done.stdout[-300:]}"
            ) from None


def peak_memory() -> int:
    """Reads the peak memory of this process, in bytes."""
    try:
        # `getrusage` starts with the size of the process that forked this one.
        with open("/proc/self/status") as file:
            (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
    except OSError:  # Not Linux.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * 1024


def main(reader, path, signature, image, threads, runs, result):
    """Measures an artefact in this process and writes its cost as JSON."""
    module, _, name = reader.partition(":")
    read = getattr(importlib.import_module(module), name)
    call, image = read(path, int(threads))[signature], np.load(image)
    found = dataclasses.asdict(latency(lambda: call(image), int(runs)))
    found["peak_memory"] = peak_memory()
    pathlib.Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
