import collections
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
from trained_run import (
    DIGITS,
    copy_of_keras,
    pixels,
    ungated,
)

import export
from export import calibration, onnx_file, onnx_graph, runtimes, serving
from export.formats import onnx_graph as onnx_format
from export.onnx_int8 import quantize
from trainers.errors import OptionError


@pytest.fixture
def flags_for(export_flags):
    return export_flags(onnx_graph.Options)


@pytest.fixture
def no_gate(monkeypatch):
    monkeypatch.setattr(onnx_graph, "FORMAT", ungated(onnx_graph.FORMAT))


def _call(path):
    return runtimes.onnx(path)["serving_default"]


@pytest.mark.slow
def test_the_graph_is_standard(flags_for):
    model = onnx.load(onnx_graph.main(flags_for("--steps=2")))
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    assert opsets.pop("") == 18 and opsets.keys() <= {"ai.onnx.ml"}
    assert {node.domain for node in model.graph.node} == {""}
    shapes = {
        value.name: [
            d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim
        ]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image": ["batch", 8, 8, 1],
        "logits": ["batch", 10],
        "probabilities": ["batch", 10],
        "label": ["batch"],
    }
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.output}
    assert types["label"] == onnx.TensorProto.INT32
    counts = collections.Counter(node.op_type for node in model.graph.node)
    # Channels go to the front once; ReduceMean over the image takes them back.
    assert counts["Transpose"] + counts["Reshape"] <= 2
    # Norms are those that no convolution takes: behind a ReLU, or of the state.
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    norms = [n for n in model.graph.node if n.op_type == "BatchNormalization"]
    assert norms and all(makers[norm.input[0]] != "Conv" for norm in norms)


@pytest.mark.slow
def test_folding_adds_no_nodes(flags_for):
    """Nor does it save any: what it folds is a part of the norms otherwise."""
    folded = onnx_file.nodes(onnx_graph.main(flags_for("--steps=2")))
    plain = onnx_file.nodes(onnx_graph.main(flags_for("--steps=2", "--nofold")))
    assert folded.count("Conv") == plain.count("Conv")
    assert len(folded) <= len(plain)


@pytest.mark.slow
@pytest.mark.parametrize("precision", onnx_graph.FORMAT.precisions)
def test_the_same_net_gives_the_same_bytes(flags_for, no_gate, precision):
    arguments = flags_for(f"--precision={precision}", "--calibration_images=100")
    first, again = (onnx_graph.main(arguments).read_bytes() for _ in range(2))
    assert first == again


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(runs, digits_dir, flags_for, tmp_path):
    """Another hash seed too: the order of sets is part of no file."""
    here = onnx_graph.main(flags_for("--accuracy_images=20"))
    script = pathlib.Path(export.__file__).parent / "onnx_graph.py"
    command = [sys.executable, script, f"--run={runs['small']}"]
    command += [f"--data_dir={digits_dir}", f"--output={tmp_path / 'there'}"]
    subprocess.run(
        [*command, "--parity_images=20", "--accuracy_images=20"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "there" / here.name).read_bytes() == here.read_bytes()


@pytest.mark.slow
def test_the_quantiser_of_onnx_runtime_takes_the_file(runs, flags_for, tmp_path):
    """It copies biases that steps share and numbers the copies: a name may be taken."""
    arguments = (f"--run={runs['digits']}", "--steps=2", "--accuracy_images=20")
    path = onnx_graph.main(flags_for(*arguments))
    image = serving.feeder(DIGITS)(pixels(20))
    exact = _call(path)(image)["logits"]
    model = quantize(onnx.load(path), [one[None] for one in image], tmp_path)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "quantised.onnx")
    found = _call(tmp_path / "quantised.onnx")(image)["logits"]
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.99


@pytest.mark.slow
def test_metadata(runs, flags_for):
    found = onnx_file.read_metadata(onnx_graph.main(flags_for("--steps=2")))
    assert found["labels"] == DIGITS["class_names"]
    assert found["signatures"]["serving_default"]["steps"] == [2]
    assert found["precision"] == "float32" and "calibration" not in found
    assert str(runs["small"].parent) not in json.dumps(found)


def test_uint8_input(runs, flags_for):
    path = onnx_graph.main(flags_for("--threads=2", "--input=uint8"))
    reference = serving.keras_logits(copy_of_keras(runs["small"], "rk4", 1), DIGITS)
    logits = _call(path)(pixels(5))["logits"]
    np.testing.assert_allclose(logits, reference(pixels(5)), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_int8(runs, flags_for, no_gate, digits):
    plain = onnx_graph.main(flags_for(f"--run={runs['digits']}", "--steps=2"))
    path = onnx_graph.main(
        flags_for(f"--run={runs['digits']}", "--steps=2", "--precision=int8")
    )
    assert path.name == "rk4-2-int8.onnx"
    assert path.stat().st_size < 0.65 * plain.stat().st_size
    image = serving.feeder(DIGITS)(pixels(20))
    exact, found = (_call(p)(image)["logits"] for p in (plain, path))
    assert 1e-3 < np.abs(found - exact).max() / np.std(exact) < 0.5
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.99
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    # The kernels: int8, with a scale for each of their output channels.
    weights = {w.name: w for w in model.graph.initializer}
    scales = [
        (weights[node.input[0]], weights[node.input[1]])
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    ]
    # What is (1, C, 1, 1) is a shift.
    kernels = [(w, s) for w, s in scales if len(w.dims) == 4 and w.dims[0] > 1]
    assert len(kernels) >= 1 + 2 * 3 + 2 * 3
    for kernel, scale in kernels:
        assert kernel.data_type == onnx.TensorProto.INT8
        assert scale.dims == kernel.dims[:1]
        # So that pairs of products with bytes fit into int16.
        assert np.abs(onnx.numpy_helper.to_array(kernel)).max() <= 64
    points = {
        weights[node.input[2]].data_type
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert points == {onnx.TensorProto.UINT8}
    # The state and the logits stay float.
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert makers["logits"] != "DequantizeLinear"
    assert any(
        makers.get(name) == "Add"
        for node in model.graph.node
        if node.op_type == "Add"
        for name in node.input
    )
    whole = dataclasses.replace(
        digits,
        train=digits.train.concatenate(digits.validation),
        sizes={"train": digits.sizes["train"] + digits.sizes["validation"]},
    )
    samples = calibration.calibration_images(whole, 500)
    assert onnx_file.read_metadata(path)["calibration"] == {
        "images": 500,
        "sha256": calibration.sha256(samples),
    }


@pytest.mark.parametrize("adapted", [False, True])
def test_normalization_is_a_part_of_the_graph(adapted, tmp_path):
    images = np.random.default_rng(0).normal(2, 3, (8, 4, 4, 1)).astype("float32")
    layer = keras.layers.Normalization(mean=[2.0], variance=[9.0])
    if adapted:
        layer = keras.layers.Normalization()
        layer.adapt(images)
    net = keras.Sequential(
        [keras.Input((4, 4, 1)), layer, keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    graph = onnx_format.convert(net, {"image_shape": [4, 4, 1]}, "normalized")
    assert [value.name for value in graph.graph.input] == ["image"]
    onnx.save(graph, tmp_path / "net.onnx")
    found = _call(tmp_path / "net.onnx")(images)["logits"]
    np.testing.assert_allclose(found, net(images), atol=1e-5)


def test_bad_flags_are_refused(flags_for, tmp_path):
    with pytest.raises(OptionError, match="Received 'float16'"):
        flags_for("--precision=float16")
    with pytest.raises(OptionError, match="--calibration_images: expected at most"):
        onnx_graph.main(flags_for("--precision=int8", "--calibration_images=5000"))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_script_says_one_line_and_exits_with_2(tmp_path):
    script = pathlib.Path(export.__file__).parent / "onnx_graph.py"
    done = subprocess.run(
        [sys.executable, script, "--run=none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()[-1:]
    assert line.startswith("error: --run: ") and "/none/net/net.json: expected" in line
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
