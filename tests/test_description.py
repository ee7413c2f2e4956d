import json

import numpy as np
import pytest
from trained_run import DIGITS, parse, save_run

from export.calibration import sha256
from export.description import describe
from export.formats.table import FORMATS
from export.job import Job


@pytest.fixture
def source_of(digits_dir):
    def load(run, *arguments):
        values = parse([f"--run={run}", f"--data_dir={digits_dir}", *arguments])
        return Job.read(values, FORMATS["tflite"]).source

    return load


def test_description_is_plain_data_of_the_net(runs, source_of):
    source = source_of(
        runs["digits"], "--scheme=euler", "--manifestations=rk4:2,euler:3"
    )
    found = describe(source, "uint8")
    assert json.loads(json.dumps(found)) == found
    assert found["signatures"]["serving_default"] == {
        "scheme": "euler",
        "steps": [1, 1, 1],
        "basis": "constant",
        "basis_size": [1, 1, 1],
    }
    assert {k: (v["scheme"], v["steps"]) for k, v in found["signatures"].items()} == {
        "serving_default": ("euler", [1, 1, 1]),
        "rk4_2": ("rk4", [2, 2, 2]),
        "euler_3": ("euler", [3, 3, 3]),
    }
    assert found["labels"] == DIGITS["class_names"]
    assert found["normalization"] == {"mean": DIGITS["mean"], "std": DIGITS["std"]}
    assert (found["input"], found["folded"]) == ("uint8", False)
    (weights,) = (runs["digits"] / "net").glob("*.safetensors")
    assert weights.name == f"net-{found['weights_sha256'][:16]}.safetensors"
    assert "calibration" not in found


def test_nothing_depends_on_the_place(runs, source_of, tmp_path, monkeypatch):
    before = describe(source_of(runs["small"]), "float")
    monkeypatch.chdir(runs["small"].parent)
    elsewhere = source_of(runs["small"].name, f"--output={tmp_path}")
    assert describe(elsewhere, "float") == before


def test_calibration_and_changes_are_told(tmp_path, source_of):
    run = save_run(tmp_path / "deep", nodes=4, widths=(4,), strides=(1,))
    source = source_of(run, "--basis_size=2", "--recalibrate=3")
    images = np.zeros((100, 8, 8, 1), np.uint8)
    found = describe(source, "normalized", "int8", images)
    assert found["changes"] == [
        "weights projected from K = 4 to 2",
        "batch norms recalibrated on 3 training batches",
    ]
    assert found["signatures"]["serving_default"]["basis_size"] == [2]
    assert found["signatures"]["serving_default"]["steps"] == [4]
    assert found["calibration"] == {"images": 100, "sha256": sha256(images)}
    assert found["precision"] == "int8"


def test_a_net_of_fixed_depth_has_no_manifestation(tmp_path, source_of):
    run = save_run(tmp_path / "resnet", "resnet20", blocks_per_stage=1)
    found = describe(source_of(run), "normalized")
    assert found["signatures"] == {"serving_default": {}}
    assert found["architecture"] == "resnet"
