import os
import tempfile
import threading

import pytest
import tensorflow as tf

from export import staging
from export.staging import Workspace
from trainers.errors import OptionError


def _versions(new, model, version=None):
    return Workspace(model.parent).publish_version(new, model.name, version)


def test_versions_continue_above_the_highest(tmp_path):
    for name in ("1", "12", ".tmp-x", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "new").mkdir()
    assert _versions(tmp_path / "new", tmp_path) == tmp_path / "13"
    assert sorted(os.listdir(tmp_path)) == [".tmp-x", "1", "12", "13", "notes"]


def test_a_version_taken_meanwhile_is_left_alone(tmp_path, monkeypatch):
    for name in ("1", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "1" / "theirs").touch()
    seen = iter([0, 1, 1])  # The first is out of date.
    monkeypatch.setattr(staging, "latest_version", lambda _: next(seen))
    assert _versions(tmp_path / "new", tmp_path).name == "2"
    assert (tmp_path / "1" / "theirs").exists()


def test_an_explicit_version_that_appears_meanwhile_is_left_alone(tmp_path):
    (tmp_path / "model" / "3").mkdir(parents=True)
    (tmp_path / "model" / "3" / "theirs").touch()
    (tmp_path / "new").mkdir()
    with pytest.raises(OptionError, match="--version: .*Received 3"):
        _versions(tmp_path / "new", tmp_path / "model", 3)
    assert os.listdir(tmp_path / "model" / "3") == ["theirs"]


def test_of_many_exports_at_once_each_gets_a_version(tmp_path):
    """Nothing but the rename decides, so that none of them is lost or replaced."""
    folders = [tmp_path / f"new-{i}" for i in range(16)]
    for folder in folders:
        folder.mkdir()
        (folder / folder.name).touch()
    start = threading.Barrier(len(folders))

    def publish(folder):
        start.wait()
        _versions(folder, tmp_path / "model")

    threads = [threading.Thread(target=publish, args=[folder]) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {path.name: os.listdir(path) for path in (tmp_path / "model").iterdir()}
    assert sorted(found, key=int) == [str(i + 1) for i in range(16)]
    assert sorted(sum(found.values(), [])) == sorted(f.name for f in folders)


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(28, os.strerror(28)), "No space left on device"),
        # What TensorFlow raises instead, for variables and for saved_model.pb.
        (tf.errors.ResourceExhaustedError(None, None, "x; No space"), "x; No space"),
        (tf.errors.UnknownError(None, None, "y; File too large"), "y; File too large"),
    ],
)
def test_a_full_disk_is_bad_input_and_leaves_nothing(tmp_path, error, message):
    (tmp_path / "there").mkdir()
    with pytest.raises(OptionError, match=f"--output: .*{message}.*make room"):
        with Workspace(tmp_path / "there" / "deep" / "er") as workspace:
            (workspace.folder / "half").touch()
            with staging.writing(tf.errors.OpError):
                raise error
    assert os.listdir(tmp_path) == ["there"]
    assert os.listdir(tmp_path / "there") == []


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(32, "Broken pipe"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ"),
    ],
)
def test_an_error_of_the_work_is_no_full_disk(tmp_path, error):
    """Only a write is: the reader of a pipe may be gone, a graph may be wrong."""
    with pytest.raises(type(error)):
        with Workspace(tmp_path / "deep" / "er") as workspace:
            (workspace.folder / "half").touch()
            raise error
    assert os.listdir(tmp_path) == []


def test_a_workspace_is_no_version(tmp_path):
    with Workspace(tmp_path / "serving") as workspace:
        assert workspace.folder.parent == tmp_path / "serving"
        name = workspace.folder.name
        assert name.startswith(".") and not name.isdecimal()


def test_a_path_that_no_disk_takes_is_told_as_the_output(tmp_path):
    folder = tmp_path / ("x" * 300)
    with pytest.raises(OptionError, match="--output: .*name too long"):
        with Workspace(folder):
            pass
    with pytest.raises(OptionError, match="--output: .*name too long"):
        Workspace(tmp_path).publish_folder(tmp_path, folder.name, ("mark",))
    staging.refuse_version(folder, 1)  # Told when it is made.


def test_what_a_library_leaves_goes_with_the_workspace(tmp_path):
    before = tempfile.gettempdir()
    with Workspace(tmp_path) as workspace:
        with staging.temporary_files(workspace.folder):
            left = tempfile.mkdtemp()
        assert os.path.dirname(left) == str(workspace.folder)
        assert tempfile.gettempdir() == before
    assert os.listdir(tmp_path) == []


def _page(folder, text):
    folder.mkdir(parents=True)
    (folder / "mark").write_text(text)
    return folder


def test_a_folder_is_replaced_whole(tmp_path):
    target = _page(tmp_path / "page", "old")
    (target / "stale").touch()
    with Workspace(tmp_path) as workspace:
        new = _page(workspace.folder / "new", "new")
        workspace.publish_folder(new, "page", ("mark",))
    assert (target / "mark").read_text() == "new"
    assert os.listdir(target) == ["mark"] and os.listdir(tmp_path) == ["page"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    target = _page(tmp_path / "page", "old")
    rename = os.rename

    def refuse(source, destination):
        if str(source).endswith("new"):
            raise OSError("no")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", refuse)
    with Workspace(tmp_path) as workspace:
        new = _page(workspace.folder / "new", "new")
        with pytest.raises(OptionError, match="--output: expected a folder that can"):
            workspace.publish_folder(new, "page", ("mark",))
    assert (target / "mark").read_text() == "old"
    assert os.listdir(tmp_path) == ["page"]


def test_a_folder_that_somebody_else_made_meanwhile_stays(tmp_path):
    target = tmp_path / "page"
    target.mkdir()
    (target / "notes").touch()
    with Workspace(tmp_path) as workspace:
        new = _page(workspace.folder / "new", "new")
        with pytest.raises(OptionError, match="move it away or choose another folder"):
            workspace.publish_folder(new, "page", ("mark",))
    assert os.listdir(target) == ["notes"]
