"""A snapshot is there as a whole or not at all, and damage is noticed."""

import errno
import hashlib
import json
import os
import shutil

import keras
import numpy as np
import pytest
from keras import ops

from cnet_tf import continuous_net, tensor_file
from cnet_tf.surgery import blocks_of
from trainers import snapshots
from trainers.snapshots import Progress, SnapshotError


def built(seed=0, **overrides):
    keras.utils.set_random_seed(seed)
    settings = {"widths": (4,), "strides": (1,), **overrides}
    net = continuous_net("digits", **settings)
    return net


def optimizer_of(net):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    return optimizer


def moved(net):
    """An optimizer with momenta and a count of its own."""
    optimizer = optimizer_of(net)
    rng = np.random.default_rng(0)
    for _ in range(3):
        optimizer.apply(
            [rng.normal(size=v.shape).astype("f") for v in net.trainable_variables]
        )
    return optimizer


def bits(variables):
    return [ops.convert_to_numpy(v).tobytes() for v in variables]


def save(run, updates, seed=0, keep=3):
    net = built(seed)
    optimizer = moved(net)
    progress = Progress(epoch=1, batch=2, updates=updates, totals=[0.1, 2.0, 3.0])
    progress.history.append({"loss": 1 / 3})
    snapshots.save(run, net, optimizer, progress, {"data": 1}, keep)
    return net, optimizer, progress


def test_everything_comes_back_bit_for_bit(tmp_path):
    net, optimizer, progress = save(tmp_path, 7)
    found = snapshots.load(snapshots.newest(tmp_path), optimizer_of)
    assert bits(found[0].variables) == bits(net.variables)
    assert bits(found[1].variables) == bits(optimizer.variables)
    assert found[2] == progress
    assert found[1].iterations == 3


def test_every_file_is_hashed_once_to_resume(tmp_path, monkeypatch):
    save(tmp_path, 7)
    hashed, real = [], tensor_file.check
    monkeypatch.setattr(
        tensor_file,
        "check",
        lambda path, sha256: hashed.append(path) or real(path, sha256),
    )
    snapshots.load(snapshots.newest(tmp_path), optimizer_of)
    folder = tmp_path / "snapshots" / "000000007"
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert sorted(hashed) == sorted(files - {folder / "manifest.json"})


def test_a_refined_net_comes_back(tmp_path):
    net = built(nodes=4)
    snapshots.save(tmp_path, net, optimizer_of(net), Progress(), {}, 1)
    found, _, _ = snapshots.load(snapshots.newest(tmp_path), optimizer_of)
    assert bits(found.variables) == bits(net.variables)
    assert blocks_of(found)[0].steps == 4


def test_the_newest_are_kept(tmp_path):
    for updates in (9, 10, 100, 1000):
        save(tmp_path, updates, keep=2)
    assert snapshots.names(tmp_path) == ["000000100", "000001000"]


def test_a_run_without_snapshots_has_none(tmp_path):
    assert snapshots.newest(tmp_path) is None


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edit(path, change):
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGE = {
    "flipped optimizer": lambda p: flip(p / "optimizer.safetensors"),
    "flipped weights": lambda p: flip(next((p / "net").glob("*.safetensors"))),
    "cut optimizer": lambda p: os.truncate(p / "optimizer.safetensors", 100),
    "cut progress": lambda p: os.truncate(p / "progress.json", 20),
    "no progress": lambda p: (p / "progress.json").unlink(),
    "no net": lambda p: shutil.rmtree(p / "net"),
    "linked optimizer": lambda p: link(p / "optimizer.safetensors"),
    "linked weights": lambda p: link(next((p / "net").glob("*.safetensors"))),
    "unknown progress": lambda p: edit(
        p / "progress.json", lambda s: s.update(os="system")
    ),
    "flipped net.json": lambda p: flip(p / "net" / "net.json"),
    "flipped manifest": lambda p: flip(p / "manifest.json"),
    "linked net": lambda p: link(p / "net"),
    "linked snapshot": link,
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "one file more": lambda p: (p / "net" / "code.py").write_text(""),
    "list": lambda p: (p / "progress.json").write_text("[]"),
    "other class": lambda p: edit(
        p / "net" / "net.json",
        lambda s: s["architecture"]["config"].update(module="os", class_name="system"),
    ),
    "path": lambda p: edit(
        p / "net" / "net.json", lambda s: s.update(sha256="../../../../etc/passwd")
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_snapshot_is_passed_over_and_told_of(tmp_path, damage):
    old, optimizer, progress = save(tmp_path, 5, seed=1)
    save(tmp_path, 6, seed=2)
    DAMAGE[damage](tmp_path / "snapshots" / "000000006")
    told = []
    found = snapshots.load(snapshots.newest(tmp_path, told.append), optimizer_of)
    assert bits(found[0].variables) == bits(old.variables)
    assert found[2] == progress
    assert len(told) == 1 and "000000006" in told[0] and "\n" not in told[0]
    with pytest.raises(SnapshotError):
        snapshots.verify(tmp_path / "snapshots" / "000000006")


@pytest.mark.parametrize("edited", ["unknown progress", "list", "other class", "path"])
def test_a_hostile_snapshot_with_the_right_checksums_is_refused(tmp_path, edited):
    save(tmp_path, 6)
    folder = tmp_path / "snapshots" / "000000006"
    DAMAGE[edited](folder)

    def sign(manifest):
        for name in manifest:
            manifest[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()

    edit(folder / "manifest.json", sign)
    with pytest.raises(SnapshotError) as error:
        snapshots.load(snapshots.newest(tmp_path), optimizer_of)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_on_a_drive_that_cannot_flush_it_is_saved(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    net, _, _ = save(tmp_path, 7)
    found = snapshots.load(snapshots.newest(tmp_path), optimizer_of)
    assert bits(found[0].variables) == bits(net.variables)


def test_a_disk_that_fails_to_flush_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        save(tmp_path, 7)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


CALLS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")


@pytest.mark.slow
def test_killed_at_any_call_that_changes_the_disk(tmp_path, monkeypatch):
    """Of the old snapshot and the new one there is always one, and it is whole."""
    template = tmp_path / "template"
    template.mkdir()
    old, _, _ = save(template, 5, seed=1, keep=1)
    new = built(2)
    optimizer = moved(new)
    real = {name: getattr(os, name) for name in CALLS}
    died = 0
    while True:
        run = shutil.copytree(template, tmp_path / f"run-{died}")
        left = died

        def dying(name):
            def call(*args, **kwargs):
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real[name](*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, dying(name))
            try:
                snapshots.save(run, new, optimizer, Progress(updates=6), {}, 1)
                break
            except Killed:
                pass
        found, _, progress = snapshots.load(snapshots.newest(run), optimizer_of)
        expected = {5: old, 6: new}[progress.updates]
        assert bits(found.variables) == bits(expected.variables)
        # The next save clears up.
        snapshots.save(run, new, optimizer, Progress(updates=7), {}, 1)
        assert os.listdir(run / "snapshots") == ["000000007"]
        died += 1
    assert died > 10
