"""What a graph takes and gives is chosen: the batch, the outputs, their types."""

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from trained_run import DIGITS, copy_of_keras, pixels, ungated

from export import onnx_graph, runtimes, saved_model, serving, tflite
from trainers.errors import OptionError

SCRIPTS = {"saved_model": saved_model, "tflite": tflite, "onnx": onnx_graph}
FILES = ("tflite", "onnx")
READERS = {form: getattr(runtimes, form) for form in SCRIPTS}


@pytest.fixture
def exported(export_flags):
    """Exports the small run; to its path, its signature, its card."""

    def export(form, *arguments):
        script = SCRIPTS[form]
        few = ["--accuracy_images=20"]
        few += ["--calibration_images=100"] * (form in FILES)
        path = script.main(export_flags(script.Options)(*few, *arguments))
        card = path / "model_card.md"
        if path.is_file():
            card = path.with_name(f"{path.name}.md")
        call = READERS[form](path)[runtimes.SIGNATURE]
        return path, call, card.read_text()

    return export


@pytest.fixture
def expected(runs):
    net = copy_of_keras(runs["small"], "rk4", 1)
    return serving.keras_logits(net, DIGITS)(pixels(5))


def _shapes(form, path):
    """Shapes of image and outputs in the artefact itself."""
    if form == "onnx":
        graph = onnx.load(str(path)).graph
        return [
            [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        ]
    interpreter = Interpreter(model_path=str(path))
    return [
        list(detail["shape_signature"])
        for detail in (
            *interpreter.get_input_details(),
            *interpreter.get_output_details(),
        )
    ]


@pytest.mark.slow
@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch(exported, expected, form, batch, capsys):
    """It is in the graph, and what runs the graph takes any number all the same."""
    path, call, card = exported(form, f"--batch={batch}", "--outputs=logits,label")
    assert _shapes(form, path) == [[batch, 8, 8, 1], [batch, 10], [batch]]
    found = call(serving.feeder(DIGITS)(pixels(5)))
    np.testing.assert_allclose(found["logits"], expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found["label"], expected.argmax(-1))
    assert f"`image`: float32 ({batch}, 8, 8, 1)" in card
    assert f"The batch size is fixed: exactly {batch} at a time" in card
    timed = "1 image (ms)" if batch == 1 else f"{batch} images (ms)"
    assert f"latency, {timed}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("form", FILES)
def test_a_fixed_batch_of_integers(exported, form, monkeypatch):
    """The images that ranges are learned on come in such batches too."""
    monkeypatch.setattr(SCRIPTS[form], "FORMAT", ungated(SCRIPTS[form].FORMAT))
    path, call, _ = exported(form, "--precision=int8", "--batch=7")
    assert all(shape[0] == 7 for shape in _shapes(form, path))
    assert len(call(serving.feeder(DIGITS)(pixels(10)))["logits"]) == 10


@pytest.mark.slow
def test_a_fixed_batch_leaves_no_shape_to_compute(exported):
    """Delegates of accelerators run no part of a graph whose shapes it computes."""
    path, *_ = exported("tflite", "--batch=1", "--manifestations=euler:2")
    for details in Interpreter(model_path=str(path)).get_tensor_details():
        assert -1 not in details["shape_signature"]


def _order(form, path):
    """The outputs as what ignores names and signatures sees them."""
    if form == "onnx":
        return [value.name for value in onnx.load(str(path)).graph.output]
    details = Interpreter(model_path=str(path)).get_output_details()
    return [detail["name"] for detail in details]


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, outputs",
    [
        ("saved_model", "probabilities"),
        ("tflite", "probabilities"),
        ("tflite", "label,logits"),
        ("tflite", "label"),
        ("onnx", "label,probabilities,logits"),
        ("onnx", "label,probabilities"),
        ("saved_model", "label"),
    ],
)
def test_chosen_outputs_in_their_order(exported, expected, form, outputs):
    """All of them, or none but scores; the gate compares what is there."""
    names = outputs.split(",")
    path, call, card = exported(form, f"--outputs={outputs}")
    found = call(serving.feeder(DIGITS)(pixels(5)))
    assert sorted(found) == sorted(names)
    powers = np.exp(expected - expected.max(-1, keepdims=True))
    truth = {
        "logits": expected,
        "probabilities": powers / powers.sum(-1, keepdims=True),
        "label": expected.argmax(-1),
    }
    for name in names:
        np.testing.assert_allclose(found[name], truth[name], rtol=0, atol=1e-4)
    if form != "saved_model":  # Whose outputs have names and no order.
        assert _order(form, path) == names
    lines = [line for line in card.splitlines() if line.startswith("- `")]
    assert [line.split("`")[1] for line in lines[: 1 + len(names)]] == ["image", *names]
    compared = {"label": None}.get(
        outputs, "logits" if "logits" in names else names[-1]
    )
    assert (f"max abs delta {compared} |" in card) == (compared is not None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float", "normalized"])
def test_integers_with_floats_at_both_ends(exported, kind, monkeypatch):
    """What reads no integers: `--float_outputs`, and `--input=float` where it must."""
    monkeypatch.setattr(tflite, "FORMAT", ungated(tflite.FORMAT))
    arguments = ["--precision=int8", f"--input={kind}", "--outputs=probabilities,label"]
    path, call, card = exported("tflite", *arguments, "--float_outputs")
    interpreter = Interpreter(model_path=str(path))
    types = [detail["dtype"] for detail in interpreter.get_output_details()]
    assert types == [np.float32, np.int32]
    (image,) = interpreter.get_input_details()
    assert image["dtype"] == {"float": np.float32, "normalized": np.int8}[kind]
    floats = call(serving.feeder(DIGITS, kind)(pixels(5)))["probabilities"]
    _, call, _ = exported("tflite", *arguments)
    integers = call(serving.feeder(DIGITS, kind)(pixels(5)))["probabilities"]
    np.testing.assert_array_equal(floats, integers)
    assert "- `probabilities`: float32 (batch, 10)\n" in card


def test_integers_tell_what_they_mean(exported, monkeypatch):
    monkeypatch.setattr(tflite, "FORMAT", ungated(tflite.FORMAT))
    path, _, card = exported("tflite", "--precision=int8")
    interpreter = Interpreter(model_path=str(path))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    stored = [detail for detail in details if detail["dtype"] == np.int8]
    assert len(stored) == 3
    for detail in stored:
        scale, zero = detail["quantization"]
        (line,) = (x for x in card.splitlines() if x.startswith(f"- `{detail['name']}"))
        assert f"scale (q - zero point), scale {scale:.9g}, zero point {zero}" in line


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--batch=0", "--batch: expected an integer >= 1. Received 0"),
        ("--outputs=", "--outputs: expected some of logits, .* Received none"),
        ("--outputs=logits,scores", "--outputs: expected any of logits, probabilities"),
        ("--outputs=label,label", "each once. Received 'label,label'"),
    ],
)
def test_bad_ends_are_refused(export_flags, argument, message):
    with pytest.raises(OptionError, match=message):
        export_flags(tflite.Options)(argument)
