"""What an error advises is taken by the command that failed, with its other options."""

import dataclasses
import re

import pytest
from trained_run import parse

from export import gated_export, onnx_graph, parity, saved_model, tflite
from export.gate import Gate

SCRIPTS = (saved_model, tflite, onnx_graph)
CASES = [(script, name) for script in SCRIPTS for name in script.FORMAT.precisions]

# Options that exclude some others.
MORE = {
    saved_model: (["--manifestations=euler:2"], ["--input=encoded"]),
    tflite: (
        ["--manifestations=euler:2"],
        ["--fold", "--recalibrate=2"],
        ["--input=float", "--batch=2", "--float_outputs"],
        ["--model=my.keras"],
    ),
    onnx_graph: (["--input=uint8", "--batch=2"], ["--model=my.keras"]),
}


def flags(text) -> list[str]:
    """The flags of an advice, one for each value it offers."""
    found = re.findall(r"(--\w+)=([\w ]+)", text)
    return [
        f"{name}={value}" for name, values in found for value in values.split(" or ")
    ]


@pytest.mark.parametrize("script, precision", CASES)
def test_every_advice_is_an_option_of_the_same_command(script, precision):
    advised = flags(gated_export.remedy(script.FORMAT, precision))
    assert bool(advised) == (precision != "float32")
    for more in MORE[script]:
        for flag in advised:
            options = parse([*more, flag], script.Options)
            assert options.precision != precision


@pytest.mark.slow
def test_a_lost_image_is_told_with_the_advice(export_flags, monkeypatch):
    """Of several manifestations in one file, by the export itself."""
    gate = Gate(1e9, drop=100.0, gain=-1.0)  # As accurate is not right.
    precisions = tflite.FORMAT.precisions
    strict = {name: dataclasses.replace(p, gate=gate) for name, p in precisions.items()}
    form = dataclasses.replace(tflite.FORMAT, precisions=strict)
    monkeypatch.setattr(tflite, "FORMAT", form)
    arguments = ["--precision=dynamic", "--manifestations=euler:2"]
    options = export_flags(tflite.Options)(*arguments, "--accuracy_images=40")
    with pytest.raises(parity.ParityError, match="each worth 2.5 points") as caught:
        tflite.main(options)
    assert flags(str(caught.value)) == ["--precision=float32", "--precision=float16"]
