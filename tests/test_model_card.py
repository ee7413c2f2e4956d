import json
import re

import pytest
from trained_run import parse

from export import model_card
from export.description import describe
from export.formats.record import Tensor
from export.formats.table import FORMATS
from export.job import Job

ROW = {
    "manifestation": "rk4-1",
    "size (kB)": "1.0",
    "max abs delta logits": "1.0e-06",
    "latency, 1 image (ms)": "0.123",
}


@pytest.fixture(scope="module")
def source(runs, digits_dir):
    arguments = [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
    values = parse([*arguments, "--manifestations=euler:2"])
    return Job.read(values, FORMATS["tflite"]).source


TENSORS = {
    name: Tensor(name, dtype)
    for name, dtype in {
        "image": "uint8",
        "logits": "float32",
        "probabilities": "float32",
        "label": "int32",
    }.items()
}


def _card(source, form="tflite", run=None, **description):
    return model_card.card(
        "rk4-1.tflite",
        FORMATS[form],
        {**describe(source, "uint8"), **description},
        [ROW],
        run or source.path,
        TENSORS,
        license="CC0",
    )


def _python(text):
    return re.search(r"```python\n(.*?)```", text, re.S).group(1)


def test_card_tells_data_manifestations_and_agreement(source):
    text = _card(source)
    assert "uint8 (batch, 8, 8, 1), which is NHWC, channels last; uint8 pixels" in text
    assert re.search(r"\| euler_2 +\| +euler \| +2 \| constant \| +1 \|", text)
    assert re.search(r"\| rk4-1 +\| +1.0 \| +1.0e-06 \|", text)
    assert source.sha256 in text
    assert "Weights: CC0." in text
    assert "Recipe" not in text and "Not recorded." in text


def test_card_is_the_same_for_the_same_export(source):
    text = _card(source)
    assert text == _card(source)
    assert "0.123" not in text  # A latency is another each time.


def test_card_repeats_recipe_and_results_of_the_run(source, tmp_path):
    (tmp_path / "flags.txt").write_text("--epochs=12\n--seed=3\n")
    (tmp_path / "summary.json").write_text(json.dumps({"test_accuracy": 0.98765}))
    environment = {"git": "abc123", "packages": {"keras": "3.15.1"}}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    text = _card(source, run=tmp_path)
    assert "Test accuracy as trained: 98.77 %." in text
    assert "Code: git abc123; keras 3.15.1." in text
    assert "--epochs=12\n--seed=3\n" in text


def test_a_card_says_if_the_training_had_not_ended(source, tmp_path):
    (tmp_path / "flags.txt").write_text("--dataset=folder:/home/me/my pets\n")
    text = _card(source, run=tmp_path)
    assert "The training had not ended." in text
    assert "--dataset=folder:my pets\n" in text and "/home" not in text
    (tmp_path / "summary.json").write_text("{}")
    assert "not ended" not in _card(source, run=tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_damaged_summary_costs_only_its_line(source, tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    assert "Not recorded." in _card(source, run=tmp_path)


def test_changes_and_calibration_are_told(source):
    calibration = {"images": 100, "sha256": "feed"}
    text = _card(source, changes=["projected"], calibration=calibration, folded=True)
    assert "- Changed: projected" in text
    assert "Calibrated on 100 training images, sha256 `feed`" in text
    assert "folded into the kernels" in text


def test_a_net_of_fixed_depth(source):
    text = _card(source, signatures={"serving_default": {}})
    assert "the depth of this net is fixed" in text


@pytest.mark.parametrize("form", FORMATS)
def test_snippets_are_complete_and_python_parses(source, form):
    text = _card(source, form)
    assert "$" not in text
    compile(_python(text), form, "exec")
    for language in ("python", "shell", "cpp"):
        assert f"```{language}\n" in text
    assert "NHWC" in text
