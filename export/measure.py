"""Latency and peak memory of an artefact, each in a process of its own.

    python export/measure.py onnx <path> <signature> <image.npy> <threads> <runs> <json>

writes the JSON file; `measure` calls it, so that no artefact is measured in memory
that another one has filled. A .tflite is measured by LiteRT's own `litert-benchmark`.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

_WARM_UP = 5


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
        RuntimeError: the process failed; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, result = pathlib.Path(folder, "image.npy"), pathlib.Path(folder, "result")
        np.save(file, image)
        command = _benchmark if form == "tflite" else _this_script
        log, peak = _run(command(form, path, signature, file, threads, runs, result))
        try:
            found = json.loads(result.read_text())
        except (OSError, ValueError):
            raise RuntimeError(
                f"measure: {path}: expected a result. Received: {log[-300:]}"
            ) from None
    if form == "tflite":
        found = {
            name: found["latency"][f"{key}_ms"] / 1000
            for name, key in (("median", "median"), ("low", "p5"), ("high", "p95"))
        }
    return Cost(**found, peak_memory=peak)


def _benchmark(form, path, signature, image, threads, runs, result):
    return [
        "-m",
        "ai_edge_litert.tools.benchmark_litert_model",
        f"--model={path}",
        f"--signature={signature}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        f"--warmup_runs={_WARM_UP}",
        f"--result_json={result}",
    ]


def _this_script(form, path, signature, image, threads, runs, result):
    return [__file__, form, path, signature, image, threads, runs, result]


def _run(arguments) -> tuple[str, int]:
    """What a Python process said, and the bytes of memory it took at most."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], stdout=log, stderr=log
        )
        # Of this child alone, which `resource.getrusage` cannot tell.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        return log.read().decode(errors="replace"), usage.ru_maxrss * 1024


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


def main(form, path, signature, image, threads, runs, result):
    """Runs an artefact in this process and writes what it took as JSON."""
    calls = _READERS[form](path, int(threads))
    image = np.load(image)
    seconds = []
    for _ in range(_WARM_UP + int(runs)):
        start = time.perf_counter()
        calls[signature](image)
        seconds.append(time.perf_counter() - start)
    low, median, high = np.percentile(seconds[_WARM_UP:], [5, 50, 95]).tolist()
    pathlib.Path(result).write_text(
        json.dumps({"median": median, "low": low, "high": high})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
