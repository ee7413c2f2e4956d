"""A run says what it was started with and on."""

import json

import tensorflow as tf

from trainers import environment, onednn
from trainers.options import Options
from trainers.place import Place
from trainers.plan import Plan


def test_environment_names_versions_and_revision():
    found = environment.environment()
    assert all(found["packages"].values()) and len(found["packages"]) == 4
    assert found["python"] and found["cores"] >= 1
    gpus = tf.config.list_physical_devices("GPU")
    assert len(found["accelerators"]) == len(gpus)


def test_every_start_of_a_run_is_on_record(tmp_path, monkeypatch, digits, capsys):
    place = Place(tf.distribute.get_strategy(), 32)
    for value in ("0", "1", None):
        if value is None:
            monkeypatch.delenv(onednn.VARIABLE)
        else:
            monkeypatch.setenv(onednn.VARIABLE, value)
        environment.describe(tmp_path, Plan(Options(), place, digits))
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["onednn"] is None
    earlier = found["earlier_starts"]
    assert [start["onednn"] for start in earlier] == ["0", "1"]
    told = capsys.readouterr().err.splitlines()
    first, second = (line for line in told if line.startswith("note: "))
    assert "onednn is 1 and was 0" in first and "onednn is None and was 1" in second
    assert all(start["started"] and start["processor"] for start in earlier)
    # All that decides the last bits.
    for name in ("processor", "onednn", "accelerators", "backend"):
        assert [name in start for start in earlier] == [True, True]
    assert all(start["code"]["source"] and start["epochs"] == 30 for start in earlier)
    assert len(found["digest"]) == 64 and found["extended_from"] is None
