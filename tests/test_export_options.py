"""The options of the exports: one table a script, whole in its --help."""

import ast
import dataclasses
import pathlib

import pytest
from absl import flags
from trained_run import parse

import export
from export import onnx_graph, report, saved_model, tflite, web
from trainers import option_table
from trainers.errors import OptionError
from trainers.option_table import OptionTable

SCRIPTS = (saved_model, tflite, onnx_graph, report, web)
EVERY = {
    *("run", "output", "input", "data_dir", "parity_images", "accuracy_images"),
    *("basis_size", "restriction", "recalibrate", "images"),
    *("model", "labels", "mean", "std"),
}
ONE = EVERY | {"steps", "scheme", "fold", "license", "outputs"}
FILE = ONE | {"precision", "calibration_images", "threads", "batch"}
NAMES = {
    saved_model: ONE | {"manifestations", "model_name", "version"},
    tflite: FILE | {"manifestations", "float_outputs"},
    onnx_graph: FILE,
    web: ONE - {"input", "outputs", "recalibrate"}
    | {"manifestations", "samples", "onnxruntime_web"},
    report: EVERY
    | {"manifestations", "formats", "precisions", "calibration_images", "threads"}
    | {"runs", "budget_ms", "budget_kb"},
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_table_of_a_script_has_all_its_flags(script):
    table = script.Options
    assert issubclass(table, OptionTable) and table.__dataclass_params__.frozen
    assert {field.name for field in dataclasses.fields(table)} == NAMES[script]
    values = flags.FlagValues()
    option_table.define_flags(table, values)
    for name in NAMES[script]:
        assert "Default: " in values[name].help, name
    assert parse([], table) == table()


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_replay(script, tmp_path):
    some = {"run": "a b", "recalibrate": 2, "input": "normalized", "basis_size": 1}
    known = {name: some[name] for name in NAMES[script] & some.keys()}
    given = script.Options(**known)
    path = tmp_path / "flags.txt"
    path.write_text(option_table.flagfile(given))
    assert parse([f"--flagfile={path}"], script.Options) == given != script.Options()


def test_the_folder_is_named_after_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "small-1").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("small-1")
    assert tflite.Options().folder == pathlib.Path("exports", "small-1")
    assert tflite.Options(output="there").folder == pathlib.Path("there")


@pytest.mark.parametrize(
    "table, change, message",
    [
        (
            tflite.Options,
            {"fold": True},
            "--fold: expected one manifestation. Received",
        ),
        (saved_model.Options, {"recalibrate": 1}, "--recalibrate: expected one manif"),
    ],
)
def test_what_manifestations_cannot_share_is_refused(table, change, message):
    table(**change)
    with pytest.raises(OptionError, match=message):
        table(**change, manifestations=(("euler", 2),))


def test_a_report_of_nothing_is_refused():
    message = "--precisions: expected one that --formats=onnx has. Received 'float16'"
    with pytest.raises(OptionError, match=message):
        report.Options(formats=("onnx",), precisions=("float16",))


def test_flags_are_read_by_the_engine_alone():
    """A function below the scripts gets its options as arguments."""
    for path in pathlib.Path(export.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])]
            assert "absl" not in {getattr(node, "module", None), *names}, path
