"""What writes to a run directory: the chief alone, and finite numbers only."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnet_tf import escaping
from trainers.growth import State
from trainers.options import Options
from trainers.place import Place
from trainers.plan import Plan
from trainers.recorder import NotFinite, Recorder, opened
from trainers.run_directory import Start
from trainers.snapshots import Progress


@pytest.fixture
def make_plan(digits, tmp_path):
    def make(batch_size=32, chief=True, **changes):
        options = Options(runs_dir=str(tmp_path / "runs"), **changes)
        place = Place(tf.distribute.get_strategy(), batch_size, chief=chief)
        return Plan(options, place, digits)

    return make


@pytest.fixture
def state():
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    net.add(keras.layers.Dense(10))
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(net.trainable_variables)
    return State(net, optimizer)


def test_what_options_of_strangers_hold_does_not_reach_the_terminal(make_plan, capsys):
    line = "New run because --dataset differs (was \x1b[2J\n)"
    start = Start(pathlib.Path("runs/a"), None, line, found=False)
    Recorder(make_plan(), None, start).tell_start(Progress(), False)
    told = capsys.readouterr().out
    assert told.endswith("\n") and escaping.is_plain(told[:-1])


def write_all(recorder, state):
    recorder.save(state, Progress())
    recorder.save_net(state)
    recorder.log([{"loss": 1.0}])
    recorder.end({"loss": 1.0})


def test_a_chief_writes_it_all(make_plan, state):
    with opened(make_plan()) as recorder:
        assert recorder.newest() is None
        write_all(recorder, state)
        assert recorder.newest().folder.name == "000000000"
    found = {path.name for path in recorder.run.iterdir()}
    assert found >= {"options.json", "flags.txt", "environment.json", "lock"}
    assert found >= {"snapshots", "net", "log.csv", "summary.json"}


def test_other_workers_write_nothing(make_plan, state, tmp_path):
    with opened(make_plan(chief=False)) as recorder:
        write_all(recorder, state)
        assert recorder.newest() is None and recorder.go_back(1) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chief", [True, False])
def test_numbers_that_are_not_finite_are_refused_on_every_worker(
    make_plan, state, chief
):
    state.net.layers[-1].bias.assign(np.full(10, np.nan))
    with opened(make_plan(chief=chief)) as recorder:
        with pytest.raises(NotFinite, match="bias is not finite"):
            recorder.save(state, Progress())
        with pytest.raises(NotFinite, match="bias is not finite"):
            recorder.save_net(state)
        assert recorder.newest() is None


def test_the_batch_of_all_replicas_identifies_a_run(make_plan):
    """As many replicas find it again; with twice as many it is another one."""
    runs = []
    for size in (32, 64, 32):
        with opened(make_plan(size, replica_batch_size=32)) as recorder:
            runs.append(recorder.run)
    assert runs[0] == runs[2] != runs[1]
    stored = json.loads((runs[1] / "options.json").read_text())
    assert stored["verbose"] == 1  # All of them, for who reads it.
    assert stored["batch_size"] == 64 and stored["replica_batch_size"] == 32
