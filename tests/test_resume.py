"""A run that was stopped ends with the bits of one that was not."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
import short_runs
from short_runs import After

from cnet_tf import checkpoint
from trainers import fit, growth, snapshots
from trainers.interruption import Interrupted
from trainers.options import Options


@pytest.fixture(scope="module")
def whole(short_run):
    """Two short epochs with growth between them, never interrupted."""
    options = short_run(refine_epochs=(1,), schedule="cosine")
    fit.fit(options)
    return options


@pytest.fixture
def options(whole, tmp_path):
    """The same options, in another place."""
    return dataclasses.replace(whole, runs_dir=str(tmp_path / "runs"))


@pytest.fixture
def uninterrupted(whole):
    return outcome(whole)


def only_run(runs_dir):
    (run,) = (
        path for path in pathlib.Path(runs_dir).iterdir() if not path.is_symlink()
    )
    return run


def outcome(options):
    """Everything a run leaves that does not tell of time: weights, momenta, logs."""
    # One that was killed before it had its options.json is a folder and no more.
    runs = pathlib.Path(options.runs_dir)
    (run,) = {path.parent.resolve() for path in runs.glob("*/summary.json")}
    found = {"log": (run / "log.csv").read_text()}
    for name in ("best", "net"):
        found[name] = checkpoint.load(run / name).sha256
    newest = snapshots.names(run)[-1]
    for path in sorted((run / "snapshots" / newest).rglob("*.safetensors")):
        found[path.name] = path.read_bytes()
    return found


def test_interrupted_anywhere_the_run_ends_with_the_same_bits(
    options, uninterrupted, monkeypatch
):
    """In the middle of an epoch, in a validation, and behind the refinement."""
    for batches in (2, 3, 2):
        monkeypatch.setattr(fit, "Interruption", lambda _, n=batches: After(n))
        with pytest.raises(Interrupted, match="test: .* Run the same command again"):
            fit.fit(options)
    monkeypatch.undo()
    summary = fit.fit(options)
    assert outcome(options) == uninterrupted
    # Epochs have the time of all processes that trained them.
    rows = (only_run(options.runs_dir) / "timing.csv").read_text().splitlines()[1:]
    seconds = sum(float(row.split(",")[-1]) for row in rows)
    assert seconds == pytest.approx(summary["train_seconds"], rel=1e-6)


@pytest.mark.slow
def test_a_stop_is_seen_after_a_batch_of_whatever_is_done(options, monkeypatch, capsys):
    """The only one of an epoch, a validation, a recalibration, the test."""
    options = dataclasses.replace(
        options, epochs=1, batches_per_epoch=1, refine_epochs=(), ema=0.5
    )
    fit.fit(dataclasses.replace(options, runs_dir=options.runs_dir + "-0"))
    places = []
    # Of recalibrations 20 batches, then one of the test.
    for batches in (1, 1, 2, 3, 21):
        monkeypatch.setattr(fit, "Interruption", lambda _, n=batches: After(n))
        with pytest.raises(Interrupted) as stop:
            fit.fit(options)
        places.append(str(stop.value).partition("saved at ")[2].partition(".")[0])
    assert places == ["epoch 0, batch 1"] * 2 + ["epoch 1, batch 0"] * 3
    said = capsys.readouterr().out
    assert "New run: " in said and " from epoch 0, batch 1." in said
    monkeypatch.undo()
    fit.fit(options)
    assert " from epoch 1, batch 0." in capsys.readouterr().out
    assert outcome(options) == outcome(
        dataclasses.replace(options, runs_dir=options.runs_dir + "-0")
    )


@pytest.mark.slow
def test_an_extended_run_is_that_of_more_epochs_from_the_start(options, capsys):
    """Where the schedule does not depend on their number, growth included."""
    options = dataclasses.replace(options, schedule="step", batches_per_epoch=2)
    fit.fit(dataclasses.replace(options, runs_dir=options.runs_dir + "-0"))
    short = fit.fit(dataclasses.replace(options, epochs=1, refine_epochs=()))
    long = fit.fit(dataclasses.replace(options, extend=True, keep=9, verbose=0))
    assert long["run"] == short["run"] and long["epochs"] == 2
    said = capsys.readouterr().out
    assert f"Extends {short['run']} from 1 to 2 epochs from epoch 1, batch 0. " in said
    assert "--schedule=step does not depend on --epochs" in said
    assert pathlib.Path(long["run"], "summary-1.json").exists()
    environment = json.loads(pathlib.Path(long["run"], "environment.json").read_text())
    assert environment["extended_from"] == 1 and environment["epochs"] == 2
    assert outcome(options) == outcome(
        dataclasses.replace(options, runs_dir=options.runs_dir + "-0")
    )


@pytest.mark.slow
def test_killed_between_snapshots_the_run_goes_on_from_the_last(
    options, uninterrupted, monkeypatch
):
    """First in epoch 0, then in epoch 1, which begins with the refinement again."""
    for fatal in (2, 2):
        kill(options, monkeypatch, fatal)
    fit.fit(options)
    assert outcome(options) == uninterrupted


class Killed(BaseException):
    pass


def kill(options, monkeypatch, fatal):
    """Ends a run when it saves for the so-manieth time."""
    real, calls = snapshots.save, []

    def dying(*args):
        calls.append(args)
        if len(calls) == fatal:
            raise Killed
        real(*args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(snapshots, "save", dying)
        fit.fit(options)


@pytest.mark.slow
def test_blocks_are_chosen_once_and_again_from_the_same_bits(options, monkeypatch):
    """Killed behind the refinement it is made again, stopped there it is not."""
    options = dataclasses.replace(
        options, preset="two_blocks", refine="adaptive", batches_per_epoch=2
    )
    whole = dataclasses.replace(options, runs_dir=options.runs_dir + "-0")
    summary = fit.fit(whole)
    (factors,) = summary["factors"]
    assert sorted(factors) == [1, 2] and summary["refined"] == [1]
    log = pathlib.Path(summary["run"], "log.csv").read_text()
    assert "steps_block_0,steps_block_1" in log
    kill(options, monkeypatch, 3)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        # A batch of epoch 1.
        patch.setattr(fit, "Interruption", lambda _: After(1))
        fit.fit(options)
    with monkeypatch.context() as patch:
        patch.setattr(growth, "block_errors", None)
        assert fit.fit(options)["factors"] == [factors]
    assert outcome(options) == outcome(whole)


@pytest.mark.slow
def test_a_damaged_newest_snapshot_costs_an_epoch_and_no_bit(
    options, uninterrupted, monkeypatch, capsys
):
    monkeypatch.setattr(fit, "Interruption", lambda _: After(7))
    with pytest.raises(Interrupted):
        fit.fit(options)
    monkeypatch.undo()
    run = only_run(options.runs_dir)
    names = snapshots.names(run)
    assert names == ["000000000", "000000004", "000000006-interrupted"]
    file = run / "snapshots" / names[-1] / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    fit.fit(options)
    assert "Skipping a damaged snapshot" in capsys.readouterr().out
    assert outcome(options) == uninterrupted


@pytest.mark.slow
def test_other_options_a_finished_run_and_noresume_start_anew(options, monkeypatch):
    short = dataclasses.replace(options, epochs=1, refine_epochs=())
    runs = pathlib.Path(options.runs_dir)

    def stopped(options):
        monkeypatch.setattr(fit, "Interruption", lambda _: After(2))
        with pytest.raises(Interrupted):
            fit.fit(options)
        monkeypatch.undo()
        return len([path for path in runs.iterdir() if not path.is_symlink()])

    assert stopped(short) == 1
    assert stopped(dataclasses.replace(short, seed=1)) == 2
    assert stopped(dataclasses.replace(short, resume=False)) == 3
    # Verbosity and minutes do not make another run: the newest goes on and ends.
    fit.fit(dataclasses.replace(short, verbose=2, max_minutes=60))
    finished = {path.resolve() for path in runs.glob("*/summary.json")}
    assert len(finished) == 1
    assert len([path for path in runs.iterdir() if not path.is_symlink()]) == 3


def command(runs, digits_dir, *more):
    """With two refinements, and snapshots within epochs."""
    return short_runs.command(
        runs,
        digits_dir,
        "--epochs=4",
        "--batches_per_epoch=12",
        "--refine_epochs=1,2",
        "--save_batches=3",
        *more,
    )


def run_to_the_end(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path, digits_dir):
    """CNET_KILLS of them, 6 unless it says otherwise; a fixed seed."""
    kills = int(os.environ.get("CNET_KILLS", 6))
    whole = command(tmp_path / "whole", digits_dir)
    start = time.monotonic()
    run_to_the_end(whole)
    duration = time.monotonic() - start
    expected = outcome(Options(runs_dir=str(tmp_path / "whole")))
    draw = random.Random(0)
    killed, attempt = 0, 0
    while killed < kills:
        attempt += 1
        runs = tmp_path / f"killed-{attempt}"
        for _ in range(3):
            process = subprocess.Popen(
                command(runs, digits_dir),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            start = time.monotonic()
            try:
                # Not while Python starts: nothing has happened then.
                process.wait(duration * draw.uniform(0.4, 1.0))
                duration = time.monotonic() - start  # The machine may be faster now.
                break  # It has ended: once more would be another run.
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            if list(runs.glob("*/summary.json")):
                break  # Killed when all was done.
        else:
            run_to_the_end(command(runs, digits_dir))
        assert outcome(Options(runs_dir=str(runs))) == expected
        print(f"{killed} kills, {attempt} runs: equal", flush=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "--max_minutes"])
def test_a_polite_stop_saves_and_exits_with_0(tmp_path, digits_dir, how):
    more = ["--epochs=400", "--decay_epochs="]
    more += ["--max_minutes=0.01"] if how == "--max_minutes" else []
    process = subprocess.Popen(
        command(tmp_path / "runs", digits_dir, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if how == "SIGTERM":
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("runs/latest/log.csv")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        process.terminate()
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text[-2000:]
    assert f"Stopped by {how}: " in text and "Run the same command again" in text
    (run,) = {path.resolve() for path in (tmp_path / "runs").iterdir()}
    name, _, why = snapshots.names(run)[-1].partition("-")
    assert why == "interrupted"
    progress = json.loads(
        (run / "snapshots" / f"{name}-{why}" / "progress.json").read_text()
    )
    assert progress["updates"] == int(name) > 0
