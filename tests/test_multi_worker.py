"""Two processes on loopback train like one device, and survive like one."""

import json
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from short_runs import command, weights

from trainers import snapshots

pytestmark = pytest.mark.slow


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(digits_dir, runs, environment=None, *more):
    return subprocess.Popen(
        command(
            runs,
            digits_dir,
            "--epochs=3",
            "--batches_per_epoch=6",
            "--refine_epochs=1",
            "--precision=float64",
            "--sync_batch_norm",
            *more,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def start_workers(digits_dir, folder, *more):
    """Two workers, each with a folder of its own, as on two machines."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    return [
        start(
            digits_dir,
            folder / str(index),
            {
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                )
            },
            "--strategy=multi_worker",
            *more,
        )
        for index in range(2)
    ]


def finish(processes, code=0):
    """What they print; they end with that exit code."""
    texts = [process.communicate(timeout=300)[0] for process in processes]
    for process, text in zip(processes, texts, strict=True):
        assert process.returncode == code, text[-3000:]
    return texts


def summary(runs):
    return json.loads((runs / "latest" / "summary.json").read_text())


def test_two_workers_train_like_one_device_and_resume_together(tmp_path, digits_dir):
    """Interrupted by a signal to the one that is not the chief, then killed."""
    finish([start(digits_dir, tmp_path / "alone")])
    workers = start_workers(digits_dir, tmp_path)
    wait_for(tmp_path / "0", 6, workers)
    workers[1].send_signal(signal.SIGTERM)
    texts = finish(workers)
    assert "Stopped by another worker: " in texts[0]
    assert "Stopped by SIGTERM: the run is saved" in texts[1]

    # Only the chief has written anything; the other one learns from it where to go on.
    assert not (tmp_path / "1").exists()
    workers = start_workers(digits_dir, tmp_path)
    finish(workers)
    assert len(list((tmp_path / "0").iterdir())) == 2  # The run, and `latest`.

    found, expected = (weights(tmp_path / name / "latest") for name in ("0", "alone"))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    alone, together = summary(tmp_path / "alone"), summary(tmp_path / "0")
    # 355 test images: one worker has an image more.
    assert together["test_accuracy"] == alone["test_accuracy"]
    np.testing.assert_allclose(together["test_loss"], alone["test_loss"], rtol=1e-6)
    assert together["refined"] == [1]


def test_a_worker_that_dies_ends_the_others_with_a_line(tmp_path, digits_dir):
    workers = start_workers(digits_dir, tmp_path, "--epochs=400")
    wait_for(tmp_path / "0", 6, workers)
    workers[1].kill()
    workers[1].communicate()
    text, _ = workers[0].communicate(timeout=300)
    assert workers[0].returncode == 1
    assert "error: a worker of the cluster is gone" in text


def wait_for(runs, updates, processes):
    """Until the chief has a snapshot of so many updates."""
    deadline = time.monotonic() + 300
    while True:
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.communicate()[0][-3000:]
        names = snapshots.names(runs / "latest")
        if names and int(names[-1]) >= updates:
            return
        time.sleep(0.1)
