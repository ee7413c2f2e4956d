"""Which run a command goes on with, what it says of it, and drives of few talents."""

import contextlib
import dataclasses
import errno
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys

import filelock
import pytest

from trainers import identity, run_directory, run_lock, run_name
from trainers.errors import OptionError
from trainers.options import Options
from trainers.run_directory import Running


@pytest.fixture
def base(tmp_path):
    return Options(runs_dir=str(tmp_path / "runs"))


def start(options, **changes):
    """The start of a run of these options, still locked."""
    options = dataclasses.replace(options, **changes)
    return run_directory.start(options, identity.named(options, identity.NUMBERS))


def begun(options, **changes):
    """The run and the line of such a start, which has ended already."""
    found = start(options, **changes)
    found.lock.close()
    return found.path, found.line


def finish(run):
    (run / "summary.json").write_text("{}")


def runs_in(options):
    folder = pathlib.Path(options.runs_dir)
    return [path for path in folder.iterdir() if not path.is_symlink()]


INCIDENTAL = [
    field.name
    for field in dataclasses.fields(Options)
    if field.metadata["decides"] != identity.NUMBERS and field.name != "runs_dir"
]
OTHERS = {"name": None, "resume": True, "extend": False, "tensorboard": False}
OTHERS |= {"data_dir": "/data", "tpu": None, "keep": 7, "verbose": 2}
OTHERS |= {"max_minutes": 3.0, "save_batches": 5, "rollbacks": 9, "start_minutes": 1.0}
OTHERS |= {"replica_batch_size": 4}


@pytest.mark.parametrize("name", INCIDENTAL)
def test_an_option_that_decides_no_number_makes_no_other_run(base, name):
    run, line = begun(base)
    assert line == f"New run: {run}."
    again, line = begun(base, **{name: OTHERS[name]})
    assert again == run and line == f"Resumes {run}"


def test_another_run_says_why_it_is_one(base):
    run, _ = begun(base)
    other, line = begun(base, seed=1)
    assert other != run
    assert line == (
        f"New run because --seed differs (was 0, is 1) from the unfinished {run}: "
        f"{other}."
    )
    _, line = begun(base, epochs=20, refine_epochs=(2, 3), seed=1)
    assert "--epochs differs (was 30, is 20), --refine_epochs differs (was none" in line
    finish(run)
    again, line = begun(base)
    assert "--seed differs" in line or "is finished" in line
    assert again not in (run, other)
    _, line = begun(base, resume=False)
    assert line.startswith("New run because of --noresume: ")


def test_a_key_that_an_older_version_did_not_store_has_its_default(base):
    run, _ = begun(base)
    stored = json.loads((run / "options.json").read_text())
    for name in ("cutout", "padding", "rewarm_epochs", "verbose"):
        del stored[name]
    (run / "options.json").write_text(json.dumps({**stored, "of_before": 3}))
    assert begun(base)[0] == run
    _, line = begun(base, cutout=4)
    assert "--cutout differs (was 0, is 4)" in line


@pytest.mark.parametrize("content", ["", "[]", "3", "{", "[" * 100_000, "{}"])
def test_a_run_whose_options_cannot_be_read_is_left_alone(base, content):
    run, _ = begun(base, seed=5)
    (run / "options.json").write_text(content)
    other, _ = begun(base, seed=5)
    assert other != run


@pytest.mark.parametrize("finished", [True, False])
def test_more_epochs_on_purpose(base, finished):
    run, _ = begun(base, decay_epochs=(10,))
    if finished:
        finish(run)
    other, line = begun(base, epochs=40, decay_epochs=(10,))
    assert other != run and "--extend continues" in line
    (other / "options.json").unlink()

    options = dataclasses.replace(base, epochs=40, decay_epochs=(10, 35))
    found = start(options, extend=True)
    found.lock.close()
    assert found.path == run and found.extended == 30
    assert found.line == f"Extends {run} from 30 to 40 epochs"
    assert not (run / "summary.json").exists()
    assert (run / "summary-30.json").exists() is finished
    # With and without the flag the command now goes on with it.
    for extend in (True, False):
        assert begun(options, extend=extend) == (run, f"Resumes {run}")
    finish(run)
    with pytest.raises(OptionError, match=f"--extend: .*{run}, which has that many"):
        start(options, extend=True)
    with pytest.raises(OptionError, match="--extend: expected no --noresume"):
        start(options, extend=True, resume=False)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 20},
        {"epochs": 40, "seed": 1},
        {"epochs": 40, "decay_epochs": (5, 10)},
        {"epochs": 40, "decay_epochs": ()},
        {"epochs": 40, "refine_epochs": (12,)},
    ],
)
def test_what_is_not_the_same_up_to_its_end_is_not_extended(base, change):
    run, _ = begun(base, decay_epochs=(10,))
    options = dataclasses.replace(base, **{"decay_epochs": (10,), **change})
    with pytest.raises(OptionError, match=f"--extend: .*nearest is {run}: --") as error:
        start(options, extend=True)
    assert "\n" not in str(error.value)
    assert runs_in(base) == [run]


def test_the_same_command_twice_says_who_runs(base):
    found = start(base)
    with found.lock, pytest.raises(Running) as error:
        start(base)
    assert f"process {os.getpid()} on " in str(error.value)
    assert str(found.path) in str(error.value) and "\n" not in str(error.value)
    assert begun(base)[0] == found.path


def _begin(options, barrier, answers):
    barrier.wait()
    try:
        found = start(options)
        answers.put(str(found.path))
        barrier.wait()  # Holds the lock until all have an answer.
    except BaseException as error:
        answers.put(type(error).__name__)
        barrier.wait()


def test_commands_that_begin_at_once_train_once(base):
    """Whoever loses the race is told so."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(6), context.SimpleQueue()
    processes = [
        context.Process(target=_begin, args=(base, barrier, answers)) for _ in range(6)
    ]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    assert found.count("Running") == 5 and len(runs_in(base)) == 1


def test_a_hundred_starts_a_second_have_their_own_directories(base):
    runs = [begun(base, resume=False)[0] for _ in range(120)]
    assert len(set(runs)) == 120
    assert sorted(runs, key=run_name.order) == runs
    assert begun(base)[0] == runs[-1]  # The newest.
    assert (pathlib.Path(base.runs_dir) / "latest").resolve() == runs[-1].resolve()


def test_a_clock_that_was_put_back_makes_no_older_run(base, monkeypatch):
    run, _ = begun(base)
    later = run.with_name("digits-digits-20990101-000000")
    run.rename(later)
    newer, _ = begun(base, resume=False)
    assert newer.name == "digits-digits-20990101-000000-1"
    assert begun(base)[0] == newer


def test_what_a_killed_process_left_of_latest_blocks_nobody(base, monkeypatch):
    """Also where all processes have one number, as in containers."""
    folder = pathlib.Path(base.runs_dir)
    folder.mkdir()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    for name in ("tmp-1-latest", "tmp-abc-latest"):
        (folder / name).symlink_to("gone")
    run, _ = begun(base)
    assert (folder / "latest").resolve() == run.resolve()
    assert not os.path.isabs(os.readlink(folder / "latest"))  # It may be moved.
    assert sorted(path.name for path in folder.iterdir()) == [run.name, "latest"]


def failing(code):
    def call(*_, **__):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_on_a_drive_without_links_latest_is_left_out(base, monkeypatch, capsys, code):
    monkeypatch.setattr(os, "symlink", failing(code))
    run, _ = begun(base)
    assert runs_in(base) == [run]
    assert f"latest cannot point at {run} ({os.strerror(code)})" in (
        capsys.readouterr().out
    )


@pytest.fixture(params=[errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK])
def no_locks(request, monkeypatch):
    """A drive without locks, on which a lease is watched for a second."""
    monkeypatch.setattr(filelock, "lock_descriptor", failing(request.param))
    monkeypatch.setattr(run_lock, "_LEASE_SECONDS", 0.6)


def test_on_a_drive_without_locks_one_process_trains_all_the_same(base, no_locks):
    found = start(base)
    with found.lock, pytest.raises(Running, match=f"process {os.getpid()} on "):
        start(base)
    assert begun(base)[0] == found.path


def test_there_a_killed_process_blocks_nobody(base, no_locks):
    """One of another machine too, whose lease nobody renews."""
    run, _ = begun(base)
    code = (
        "import os, filelock, sys;"
        "filelock.SoftFileLease(sys.argv[1], lease_duration=0.6).acquire(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, f"{run}/lock.lease"], check=True)
    assert begun(base)[0] == run


@pytest.mark.slow
def test_locks_of_systems_without_fcntl(tmp_path):
    """As on Windows: nothing of ours imports it."""
    code = (
        "import sys; sys.modules['fcntl'] = None; import warnings;"
        "warnings.simplefilter('ignore'); from trainers import run_lock;"
        "lock = run_lock.acquire(sys.argv[1]); assert lock.lease; lock.close()"
    )
    root = pathlib.Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=root)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_lock_that_is_no_file_is_neither_followed_nor_waited_for(tmp_path, kind):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    folder = tmp_path / "run"
    folder.mkdir()
    if kind == "link":
        (folder / "lock").symlink_to(precious)
    else:
        os.mkfifo(folder / "lock")
    with pytest.raises(OSError):
        run_lock.acquire(folder)
    assert precious.read_text() == "kept"
    assert run_lock.owner(folder) == "another process"


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "..", ".hidden", "-x", "a\nb", "a:b", "x" * 101, " ", "a\\b"],
)
def test_names_that_are_paths_or_no_names_are_refused(name):
    with pytest.raises(OptionError, match="--name: expected the name of a fo") as error:
        Options(name=name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "dataset", ["folder:/" + "x" * 250, "folder:/" + "ü" * 200, "folder:/a/../b\nc"]
)
def test_names_made_of_paths_fit_any_file_system(base, dataset):
    run, _ = begun(base, dataset=dataset)
    assert run.parent == pathlib.Path(base.runs_dir) and len(run.name.encode()) < 130
    assert run.name.isprintable() and "digits" in run.name
    assert begun(base, dataset=dataset)[0] == run


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Make room"),
        (errno.EROFS, "Make it writable"),
        (errno.EIO, "Repair it"),
        (errno.ENOTDIR, "Repair it"),
    ],
)
def test_the_remedy_is_that_of_the_error(code, remedy):
    with pytest.raises(OptionError, match=f"--runs_dir: .*{remedy} or choose another"):
        with run_directory.writing("runs"):
            failing(code)()


def test_an_error_of_a_library_has_the_remedy_of_its_words():
    full = "{{function_node __x_}} /runs/a; No space left on device"
    with pytest.raises(OptionError, match=": /runs/a; No space .*. Make room or"):
        with run_directory.writing("runs", RuntimeError):
            raise RuntimeError(full)


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    runs = tmp_path / "file" / "runs"
    with pytest.raises(OptionError, match="--runs_dir: .*file/runs': Not a directory"):
        with run_directory.writing(runs):
            run_directory.create(runs, "net")


def test_the_lock_ends_with_the_search(base):
    """Nothing is left that a later start would wait for."""
    for _ in range(3):
        with contextlib.suppress(Running), start(base).lock:
            pass
    assert sorted(p.name for p in runs_in(base)[0].iterdir()) == [
        "lock",
        "options.json",
    ]
