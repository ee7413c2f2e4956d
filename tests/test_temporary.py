"""Temporary files: of a dead process they are removed, of a living one never."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from cnet_tf import atomic_file, temporary

# Makes one of each kind in a folder, says so, and waits.
HOLD = """
import sys, time
from cnet_tf import temporary
with temporary.folder(sys.argv[1]) as folder, temporary.file(sys.argv[1] + "/x") as f:
    (folder / "inside").write_text("work")
    f.write(b"half")
    print("made", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that is at work in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(os.path.dirname(__file__)),
    )
    assert process.stdout.readline() == "made\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, other):
    assert len(os.listdir(tmp_path)) == 2
    with temporary.folder(tmp_path) as mine:  # It lives.
        assert len(os.listdir(tmp_path)) == 3
        other.send_signal(signal.SIGKILL)
        other.wait()
        atomic_file.write_bytes(tmp_path / "new", b"")
        assert sorted(os.listdir(tmp_path)) == sorted(["new", mine.name])
    assert os.listdir(tmp_path) == ["new"]


def test_a_folder_that_was_moved_to_its_place_stays(tmp_path):
    with temporary.folder(tmp_path) as folder:
        (folder / "inside").write_text("work")
        folder.rename(tmp_path / "result")
    assert os.listdir(tmp_path) == ["result"]
    assert os.listdir(tmp_path / "result") == ["inside"]


def test_nothing_is_written_or_removed_through_a_link(tmp_path):
    """A stranger cannot know a name that is drawn, so only old ones are links."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    inside = tmp_path / "inside"
    inside.mkdir()
    old = inside / f"{temporary.PREFIX}{'0' * 16}"
    old.symlink_to(outside)
    os.utime(old, (0, 0), follow_symlinks=False)
    target = inside / "file"
    target.symlink_to(outside / "precious")
    atomic_file.write_bytes(target, b"new")
    assert os.listdir(inside) == ["file"] and not target.is_symlink()
    assert (outside / "precious").read_text() == "kept"


def test_pipes_and_files_of_others_are_left_alone(tmp_path):
    os.mkfifo(tmp_path / f"{temporary.PREFIX}{'0' * 16}")
    for name in ("tmp", ".tmp", ".tmp-of-somebody-else"):
        (tmp_path / name).write_text("")
    temporary.sweep(tmp_path)
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize("age, stays", [(3600, True), (2 * 24 * 3600, False)])
def test_without_locks_age_decides(tmp_path, monkeypatch, age, stays):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(temporary.fcntl, "flock", refuse)
    left = tmp_path / f"{temporary.PREFIX}{'0' * 16}"
    left.mkdir()
    then = left.stat().st_mtime - age
    os.utime(left, (then, then))
    atomic_file.write_bytes(tmp_path / "file", b"new")
    assert left.exists() == stays
    assert (tmp_path / "file").read_bytes() == b"new"


def test_many_at_once_do_not_take_each_other_for_dead(tmp_path):
    failures = []

    def work(i):
        try:
            for n in range(20):
                with temporary.folder(tmp_path) as folder:
                    (folder / "inside").write_text("work")
                    atomic_file.write_bytes(tmp_path / f"{i}", b"%d" % n)
                    assert (folder / "inside").exists()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(os.listdir(tmp_path)) == [str(i) for i in range(8)]


def test_a_drive_that_cannot_flush(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    atomic_file.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
