"""Latency and peak memory of an artefact, each in a process of its own.

    python export/measure.py onnx <path> <signature> <image.npy> <threads> <runs> <json>

writes the JSON file; `measure` calls it, so that no artefact is measured in memory
that another one has filled. A .tflite is measured by LiteRT's own `litert-benchmark`.
"""

import dataclasses
import json
import os
import pathlib
import resource
import runpy
import subprocess
import sys
import tempfile
import time

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

_WARM_UP = 5
_BENCHMARK = "ai_edge_litert.tools.benchmark_litert_model"


class MeasureError(RuntimeError):
    """An artefact cannot be run by itself. The message is one line."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        median, low, high: Seconds: the median, the 5th and the 95th percentile.
        peak_memory: Bytes of the process at its largest, runtime and Python included.
    """

    median: float
    low: float
    high: float
    peak_memory: int


def measure(form: str, path, signature: str, image, threads=1, runs=50) -> Cost:
    """Measures one signature of an artefact on one image.

    Args:
        form: `"saved_model"`, `"tflite"` or `"onnx"`.
        path: Of the artefact.
        signature: Its name; an ONNX graph has but one.
        image: Array (1, H, W, C) as the artefact takes it; `litert-benchmark` takes
            random numbers instead.
        threads: Threads of the runtime. Default 1.
        runs: Runs that are counted, after 5 that are not. Default 50.

    Raises:
        MeasureError: the process failed; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, result = pathlib.Path(folder, "image.npy"), pathlib.Path(folder, "result")
        np.save(file, image)
        arguments = [__file__, form, path, signature, file, threads, runs, result]
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


def _saved_model(path, threads):
    import tensorflow as tf

    from export.saved_model import reload

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return reload(path)


def _onnx(path, threads):
    from export.onnx_graph import reload

    return reload(path, threads)


_READERS = {"saved_model": _saved_model, "onnx": _onnx}


def _benchmark(path, signature, threads, runs) -> dict:
    """What `litert-benchmark` says, run in this process."""
    with tempfile.NamedTemporaryFile() as result:
        sys.argv = [
            "litert-benchmark",
            f"--model={path}",
            f"--signature={signature}",
            f"--num_threads={threads}",
            f"--num_runs={runs}",
            f"--warmup_runs={_WARM_UP}",
            f"--result_json={result.name}",
        ]
        runpy.run_module(_BENCHMARK, run_name="__main__")
        found = json.load(result)["latency"]
    return {
        "median": found["median_ms"] / 1000,
        "low": found["p5_ms"] / 1000,
        "high": found["p95_ms"] / 1000,
    }


def _time(call, runs) -> dict:
    seconds = []
    for _ in range(_WARM_UP + runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    low, median, high = np.percentile(seconds[_WARM_UP:], [5, 50, 95]).tolist()
    return {"median": median, "low": low, "high": high}


def peak_memory() -> int:
    """Bytes of this process at its largest."""
    try:
        # Not `getrusage`, which starts with the size of the process that forked.
        with open("/proc/self/status") as file:
            (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
    except OSError:  # No Linux.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * 1024


def main(form, path, signature, image, threads, runs, result):
    """Runs an artefact in this process and writes what it took as JSON."""
    threads, runs = int(threads), int(runs)
    if form == "tflite":
        found = _benchmark(path, signature, threads, runs)
    else:
        call, image = _READERS[form](path, threads)[signature], np.load(image)
        found = _time(lambda: call(image), runs)
    found["peak_memory"] = peak_memory()
    pathlib.Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
