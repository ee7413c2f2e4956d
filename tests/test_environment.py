"""A run says what it was started with and on."""

import json

from trainers import environment, onednn
from trainers.options import Options


def test_environment_names_versions_and_revision():
    found = environment.environment()
    assert all(found["packages"].values()) and len(found["packages"]) == 4
    assert found["python"] and found["cores"] >= 1


def test_every_start_of_a_run_is_on_record(tmp_path, monkeypatch):
    for value in ("0", "1", None):
        if value is None:
            monkeypatch.delenv(onednn.VARIABLE)
        else:
            monkeypatch.setenv(onednn.VARIABLE, value)
        environment.describe(tmp_path, Options())
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["onednn"] is None
    earlier = found["earlier_starts"]
    assert [start["onednn"] for start in earlier] == ["0", "1"]
    assert all(start["started"] and start["processor"] for start in earlier)
