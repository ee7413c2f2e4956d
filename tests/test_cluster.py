"""Workers that never come, ports in use, workers that would not compute the same."""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from trainers import broadcast, cluster, identity, strategy
from trainers.cluster import WorkerLost
from trainers.errors import OptionError
from trainers.identity import Identity
from trainers.options import Options
from trainers.place import Place


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def workers():
    return {f"worker {i}": f"127.0.0.1:{free_port()}" for i in range(3)}


def test_workers_that_never_start_are_named_after_the_minutes(workers):
    told = []
    with pytest.raises(WorkerLost) as error:
        cluster.meet(workers, "worker 1", 0.005, told.append)
    for name in ("worker 0", "worker 2"):
        assert f"{name} ({workers[name]})" in str(error.value)
        assert f"{name} ({workers[name]})" in told[0]
    assert "did not start within 0.005 minutes (--start_minutes)" in str(error.value)
    assert len(told) == 1 and "Waiting for " in told[0]
    assert "worker 1" not in told[0] and "\n" not in str(error.value)


def test_all_of_them_meet_in_any_order(workers):
    """The last one finds the others where TensorFlow listens by then."""
    told, threads = [], []
    with contextlib.ExitStack() as servers:

        def come(name, seconds):
            time.sleep(seconds)
            cluster.meet(workers, name, 1, told.append)
            host, port = cluster.address(workers[name])
            servers.enter_context(socket.create_server((host, port)))

        for name, seconds in zip(workers, (0.0, 0.3, 0.6), strict=True):
            threads.append(threading.Thread(target=come, args=(name, seconds)))
            threads[-1].start()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()
    assert 1 <= len(told) <= 3


def test_a_port_in_use_is_one_line(workers):
    _, port = cluster.address(workers["worker 0"])
    with socket.create_server(("", port)):
        with pytest.raises(OptionError, match="TF_CONFIG: .*free port") as error:
            cluster.meet(workers, "worker 0", 1)
    assert workers["worker 0"] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["host", "host:", ":1", "host:0", "host:99999", "a:1/b", "u@h:1", "h:x", ""]
)
def test_an_address_that_is_none_is_refused(monkeypatch, text):
    with pytest.raises(ValueError):
        cluster.address(text)
    config = {
        "cluster": {"worker": ["a:1", text]},
        "task": {"type": "worker", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(OptionError, match="TF_CONFIG: .*expected"):
        strategy.make_strategy(Options(strategy="multi_worker"))


@pytest.mark.parametrize(
    "text, expected", [("a.b:12", ("a.b", 12)), ("[::1]:5", ("::1", 5))]
)
def test_addresses(text, expected):
    assert cluster.address(text) == expected


@pytest.mark.slow
def test_where_tensorflow_does_not_come_back_the_process_ends_with_a_line():
    code = (
        "import time; from trainers import cluster\n"
        "with cluster.limited(0.1): time.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the workers of the cluster")


def same(**changes):
    parts = {
        "options": {"seed": 0, "epochs": 3},
        "course": {"rollbacks": 3},
        "data": {"mean": [0.5], "class_names": ["a"]},
        "code": {"source": "1", "keras": "3"},
    }
    for part, values in changes.items():
        parts[part] = parts[part] | values
    return Identity(**parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"seed": 1}}, "--seed: .*0 on worker 0 and 1 on worker 2"),
        ({"options": {"new": 1}}, "--new: .*none on worker 0 and 1 on worker 2"),
        ({"course": {"rollbacks": 1}}, "--rollbacks: "),
        ({"data": {"mean": [0.4]}}, r"--dataset, mean: .*\[0.5\] on worker 0 and"),
        ({"code": {"source": "2"}}, "the code, source: "),
    ],
)
def test_workers_that_differ_are_refused_by_a_line_that_names_it(change, message):
    identity.check_workers([same(), same(), same()])
    with pytest.raises(OptionError, match=message) as error:
        identity.check_workers([same(), same(), same(**change)])
    assert "\n" not in str(error.value)


class Workers:
    """Stands for a strategy of several workers; sums what each of them gives."""

    def __init__(self, count, others):
        self.num_replicas_in_sync = 2 * count
        self.others = others  # Content by worker, of those that are not here.
        self.sums = 0

    def experimental_distribute_values_from_function(self, of_replica):
        return [
            of_replica(tf.distribute.experimental.ValueContext(i, 2))
            for i in range(0, 2)
        ]

    def reduce(self, _, values, axis):
        del axis
        total = tf.add_n(values).numpy()
        for worker, content in self.others.items():
            # First the lengths are exchanged.
            row = list(content) if self.sums else [len(content)]
            total[worker, : len(row)] += np.array(row, total.dtype)
        self.sums += 1
        return tf.constant(total)


def test_what_every_worker_gives_is_gathered():
    place = Place(Workers(3, {1: b"longer", 2: b""}), 6, workers=3)
    # The longest decides the room; ours has to be as long in this stand-in.
    assert broadcast.gathered(place, b"abcdef") == [b"abcdef", b"longer", b""]
    assert broadcast.anyone(dataclasses.replace(place, workers=1), True)
    place = Place(Workers(2, {1: b"1"}), 4, workers=2)
    assert broadcast.anyone(place, False)
    place = Place(Workers(2, {1: b"0"}), 4, workers=2)
    assert not broadcast.anyone(place, False)


def train(index, ports, runs, data_dir, *more):
    config = {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
        "task": {"type": "worker", "index": index},
    }
    from short_runs import command

    return subprocess.Popen(
        command(runs, data_dir, "--strategy=multi_worker", "--epochs=1", *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mine", "theirs", "named"),
    [
        ("--seed=0", "--seed=1", "--seed: "),
        ("--weight_decay=0.1", "--weight_decay=0.2", "--weight_decay: "),
    ],
)
def test_workers_of_other_options_end_before_the_first_step(
    tmp_path, digits_dir, mine, theirs, named
):
    ports = [free_port(), free_port()]
    processes = [
        train(i, ports, tmp_path / str(i), digits_dir, flag)
        for i, flag in enumerate((mine, theirs))
    ]
    for process in processes:
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 2, text[-3000:]
        assert f"error: {named}expected the same on every worker" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_worker_alone_ends_with_a_line(tmp_path, digits_dir):
    ports = [free_port(), free_port()]
    process = train(1, ports, tmp_path, digits_dir, "--start_minutes=0.05")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 1, text[-3000:]
    assert f"error: worker 0 (127.0.0.1:{ports[0]}) did not start" in text
