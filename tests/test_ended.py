"""Commands that are stopped, or that meet a disk that refuses, leave nothing half-done.

Each as people run it, in a process of its own.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from slow_cases import fast
from trained_run import files

ROOT = pathlib.Path(__file__).resolve().parent.parent
FULL_DISK = pathlib.Path(__file__).with_name("full_disk.py")

# Begins to write, says so, and waits; as every command it is run by `run_command`.
COMMAND = """
import pathlib, sys, time
from absl import flags
from trainers import disk
from trainers.errors import run_command
out = pathlib.Path(sys.argv.pop())
def main():
    with disk.Workspace(out) as workspace:
        (workspace.folder / "half").write_text("work")
        print("begun", flush=True)
        time.sleep(60)
run_command(main)
"""


def begin(tmp_path, **settings):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **settings,
    )
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_command_which_clears_up(tmp_path, number, code):
    # Whoever runs the tests in the background may have them ignore an interrupt.
    process = begin(tmp_path, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert error.splitlines()[-1].startswith("error: stopped by")
    assert "Traceback" not in error
    assert not files(tmp_path)


# Gets its signal where Python drops what the handler raises.
DROPS = """
import gc, os, pathlib, signal, sys, time, weakref
from trainers import disk
from trainers.errors import run_command
from trainers.interruption import Interrupted, Interruption
out, name, place = pathlib.Path(sys.argv.pop()), sys.argv.pop(), sys.argv.pop()
def kill(*_):
    if kill in gc.callbacks:
        gc.callbacks.remove(kill)
    os.kill(os.getpid(), signal.Signals[name])
class Finalized:
    pass
class Deleted:
    __del__ = kill
def places():
    if place in ("gc", "training"):
        gc.callbacks.append(kill)
        gc.collect()
    elif place == "del":
        Deleted()
    elif place == "weakref":
        reference = weakref.ref(Finalized(), kill)
    elif place == "library":
        try:
            kill()
            time.sleep(1)
        except BaseException:
            raise AttributeError("made of it by code in C") from None
    elif place == "swallowed":
        try:
            kill()
            time.sleep(1)
        except BaseException:
            pass
def main():
    with disk.Workspace(out) as workspace:
        (workspace.folder / "half").write_text("work")
        places()
        time.sleep(20)
def train():
    try:
        with Interruption():
            main()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
run_command(train if place == "training" else main)
"""


@pytest.mark.parametrize("place", fast(["gc", "del", "weakref", "training"], "gc"))
@pytest.mark.parametrize(
    ("name", "code"), fast([("SIGTERM", 143), ("SIGINT", 130)], ("SIGTERM", 143))
)
def test_a_signal_ends_a_command_wherever_it_comes(tmp_path, place, name, code):
    done = run(
        *("-c", DROPS, place, name, tmp_path / "out"),
        preexec_fn=lambda: signal.signal(signal.Signals[name], signal.SIG_DFL),
    )
    said = "error: stopped by" if place != "training" else f"{name}: training had not"
    assert done.returncode == (code if place != "training" else 0), done.stderr
    assert done.stderr.splitlines()[-1].startswith(said)
    assert "ignored" not in done.stderr and "Traceback" not in done.stderr
    assert not files(tmp_path)


@pytest.mark.parametrize("place", ["library", "swallowed"])
def test_a_signal_that_a_library_catches_ends_the_command(tmp_path, place):
    done = run("-c", DROPS, place, "SIGTERM", tmp_path / "out")
    assert done.returncode == 143, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: stopped by")
    assert "Traceback" not in done.stderr and not files(tmp_path)


@pytest.mark.slow
def test_a_second_signal_does_not_break_off_the_clearing(tmp_path):
    process = begin(tmp_path)
    for _ in range(20):
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not files(tmp_path)


@pytest.mark.slow
def test_what_nohup_ignores_stays_ignored(tmp_path):
    process = begin(
        tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.slow
def test_what_a_killed_command_left_is_removed_by_the_next(tmp_path):
    killed = begin(tmp_path)
    killed.kill()
    killed.communicate()
    assert len(files(tmp_path / "out")) == 2
    following = begin(tmp_path)
    assert len(files(tmp_path / "out")) == 2  # Its own.
    following.terminate()
    following.communicate()
    assert not files(tmp_path / "out")


def run(*arguments, **settings):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **settings,
    )


def is_one_line(done, match):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and match in last, last


PRINTS = """
from trainers.errors import run_command
run_command(lambda: print("x" * 100_000))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", PRINTS],
        ["trainers/benchmark.py", "--help"],
        ["trainers/benchmark.py", "--presets=digits", "--rounds=1", "--batch_size=2"],
    ],
)
def test_a_full_disk_behind_the_terminal_is_a_line(arguments):
    """Nothing else is written by the benchmark."""
    with open("/dev/full", "w") as full:
        is_one_line(run(*arguments, stdout=full), "No space left on device")


@pytest.mark.slow
def test_a_full_disk_behind_both_ends_of_a_terminal_leaves_the_exit_code():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", PRINTS]
        done = subprocess.run(command, stdout=full, stderr=full, cwd=ROOT)
    assert done.returncode == 2


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = run("-c", PRINTS, stdout=writer)
    os.close(writer)
    assert done.returncode == 141 and "Traceback" not in done.stderr


def _below_a_file(folder):
    (folder / "out").write_text("precious")


def _a_link_to_nowhere(folder):
    (folder / "out").symlink_to("/nowhere/at/all")


WRITERS = {
    "evaluate": ["trainers/evaluate.py", "--steps=1", "--schemes=euler"],
    "saved_model": ["export/saved_model.py"],
    "tflite": ["export/tflite.py"],
    "onnx": ["export/onnx_graph.py"],
    "report": ["export/report.py", "--formats=tflite", "--runs=10"],
}
SHORT = {
    "evaluate": ["--examples=20", "--recalibration_batches=0"],
    "report": ["--parity_images=8", "--accuracy_images=8"],
}


def command(name, run_folder, data_dir, output):
    more = SHORT.get(name, ["--parity_images=8", "--accuracy_images=8"])
    shared = [f"--run={run_folder}", f"--data_dir={data_dir}", f"--output={output}"]
    return [*WRITERS[name], *shared, *more]


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("refusal", [_below_a_file, _a_link_to_nowhere])
def test_a_folder_that_is_none_is_refused(tmp_path, runs, digits_dir, name, refusal):
    refusal(tmp_path)
    before = files(tmp_path)
    arguments = command(name, runs["small"], digits_dir, tmp_path / "out")
    is_one_line(run(*arguments), "--output: expected a folder")
    assert files(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fills_up_is_a_line(tmp_path, runs, digits_dir, name):
    """Files may have 3 kB each: whatever is larger does not fit."""
    arguments = command(name, runs["small"], digits_dir, tmp_path / "out")
    done = run(FULL_DISK, *arguments, env={**os.environ, "CNET_MOST_BYTES": "3000"})
    is_one_line(done, "--output: expected a folder that can be written")
    assert not files(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_sigterm_while_it_works_leaves_nothing(tmp_path, runs, digits_dir, name):
    arguments = command(name, runs["small"], digits_dir, tmp_path / "out")
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    end = time.monotonic() + 120
    while not files(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    process.terminate()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143, error
    assert "Traceback" not in error
    assert not files(tmp_path)
