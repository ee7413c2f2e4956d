"""A format is its record: nothing else has to know that it is there."""

import dataclasses

import pytest
from trained_run import parse

from export import report, single_file, survey, tflite
from export.formats.table import FORMATS
from export.measure import Cost
from trainers.errors import OptionError

# As a new file of formats/ would have it.
NEW = dataclasses.replace(
    FORMATS["tflite"],
    name="brandnew",
    title="BrandNew (fictional)",
    precisions={"float32": FORMATS["tflite"].precisions["float32"]},
    usage={"python": 'load("$file")\n'},
)


def test_names_are_those_of_the_table():
    assert {name: form.name for name, form in FORMATS.items()} == {
        name: name for name in ("saved_model", "tflite", "onnx")
    }


@pytest.mark.slow
def test_a_new_format_is_exported_with_its_card(export_flags):
    path = single_file.to_file(export_flags(tflite.Options)(), NEW)
    assert path.name == "rk4-1.brandnew"
    card = path.with_name(f"{path.name}.md").read_text()
    assert "Format: BrandNew (fictional). Net: continuous_net" in card
    assert 'load("rk4-1.brandnew")' in card


@pytest.mark.slow
def test_a_new_format_is_a_row_of_the_report(export_flags, monkeypatch):
    monkeypatch.setitem(FORMATS, NEW.name, NEW)
    monkeypatch.setattr(survey, "measure", lambda *_: Cost(0.1, 0.1, 0.1, 3_000_000))
    few = ("--accuracy_images=20", "--manifestations=rk4:1", "--precisions=float32")
    (row,) = report.main(export_flags(report.Options)(*few, f"--formats={NEW.name}"))
    assert (row["format"], row["precision"]) == ("brandnew", "float32")


def test_inputs_that_a_precision_does_not_take_are_refused(export_flags, tmp_path):
    """By the scripts and by the report, before any work."""
    message = "expected normalized or float or uint8 with --precision=float32. Rec"
    assert FORMATS["tflite"].refusal("float32", "float") == ""
    with pytest.raises(OptionError, match=f"--input: {message}"):
        tflite.Options(input="encoded")
    with pytest.raises(OptionError, match=f"--input: {message}"):
        parse(["--input=encoded", f"--run={tmp_path}"], report.Options)
    parse(["--input=encoded", "--formats=saved_model"], report.Options)
    assert list(tmp_path.iterdir()) == []
