"""A full disk or a folder that is read-only costs a run nothing but time."""

import dataclasses
import errno
import os
import pathlib
import shutil
import subprocess
import tempfile

import keras
import pytest
from short_runs import assert_equal, command, weights

from trainers import epochs, fit, run_directory, snapshots
from trainers.curves import Curves
from trainers.errors import OptionError

FULL_DISK = pathlib.Path(__file__).with_name("full_disk.py")


@pytest.fixture
def options(short_run):
    """The folder can be entered by any user, which those of pytest cannot."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield short_run(batches_per_epoch=2, runs_dir=f"{folder}/runs")


@pytest.fixture
def nobody():
    """The rights of a user to whom modes apply, as they do not to root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_refused_before_anything_is_trained(
    options, monkeypatch, request
):
    monkeypatch.setattr(fit, "train", None)
    runs = pathlib.Path(options.runs_dir)
    runs.parent.chmod(0o555)
    real = run_directory.start

    def start(*args):
        request.getfixturevalue("nobody")
        return real(*args)

    monkeypatch.setattr(run_directory, "start", start)
    with pytest.raises(OptionError, match="--runs_dir: .*Permission denied. Make it w"):
        fit.fit(options)
    assert not runs.exists()


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_stops_the_run_which_then_goes_on(
    options, monkeypatch, request
):
    expected = fit.fit(dataclasses.replace(options, runs_dir=options.runs_dir + "-0"))
    real = epochs.learning_rate

    def lose_rights(options, per_epoch, progress):
        if progress.updates == 3:
            folder = pathlib.Path(options.runs_dir, "latest").resolve()
            for path in (folder, folder / "snapshots"):
                path.chmod(0o555)
            request.getfixturevalue("nobody")
        return real(options, per_epoch, progress)

    monkeypatch.setattr(epochs, "learning_rate", lose_rights)
    with pytest.raises(OptionError, match="--runs_dir: .*Permission denied"):
        fit.fit(options)
    monkeypatch.undo()
    if os.getuid() == 0:
        os.seteuid(0)
    run = pathlib.Path(options.runs_dir, "latest").resolve()
    assert snapshots.names(run) == ["000000000", "000000002"]
    for path in (run, run / "snapshots"):
        path.chmod(0o755)
    assert fit.fit(options)["run"] == str(run)
    assert_equal(weights(run), weights(expected["run"]))


def test_a_broken_pipe_is_no_matter_of_the_disk(options, monkeypatch):
    """Raised by a callback, as by a progress bar whose reader has ended."""

    class Bar(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(
        keras.callbacks,
        "CallbackList",
        lambda *_, _real=keras.callbacks.CallbackList, **__: _real([Bar()]),
    )
    with pytest.raises(BrokenPipeError):
        fit.fit(options)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 700 kB; a function that gives it more."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True
        )

    if shutil.which("mount") is None or mount("size=700k").returncode:
        pytest.skip("a small disk to fill cannot be mounted: that takes root")
    yield folder, lambda: mount("remount,size=20m")
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(
    options, small_disk
):
    """There is room for one snapshot of the digits net and not for two."""
    options = dataclasses.replace(
        options, preset="digits", scheme="euler", refine_epochs=(1,)
    )
    whole = fit.fit(dataclasses.replace(options, runs_dir=options.runs_dir + "-0"))
    folder, make_room = small_disk
    options = dataclasses.replace(options, runs_dir=str(folder / "runs"))
    with pytest.raises(OptionError, match="--runs_dir: .*No space left on device"):
        fit.fit(options)
    run = pathlib.Path(options.runs_dir, "latest").resolve()
    assert snapshots.names(run) == ["000000000"]
    assert not list(run.rglob(".tmp-*"))
    make_room()
    assert fit.fit(options)["run"] == str(run)
    assert_equal(weights(run), weights(whole["run"]))


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_line_of_the_program(tmp_path, digits_dir):
    """The first net does not fit."""
    python, *train = command(tmp_path / "runs", digits_dir)
    done = subprocess.run(
        [python, FULL_DISK, *train],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: --runs_dir: ") and "File too large" in last
    assert "Traceback" not in done.stderr


def test_curves_that_cannot_be_written_stop_the_run_in_a_line(tmp_path):
    """TensorFlow has errors of its own, of which it prints more lines."""
    (tmp_path / "tensorboard").write_text("a file, where a folder should be made")
    curves = Curves(tmp_path, "runs")
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    net.optimizer = None
    with pytest.raises(OptionError, match="--runs_dir: .*Received 'runs': .*not a dir"):
        curves.set_model(net)
        curves.on_train_begin()
        curves.on_epoch_end(0, {"loss": 1.0})
