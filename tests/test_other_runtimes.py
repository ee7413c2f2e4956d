"""Exports run in runtimes that did not write them, and agree with Keras there.

OpenVINO is an independent reader of SavedModels in C++: a stand-in for TF Serving.
"""

import foreign_readers
import numpy as np
import pytest
from trained_run import DIGITS, copy_of_keras, parse, pixels, save_run

from export import onnx_graph, saved_model, serving, tflite

pytestmark = pytest.mark.slow  # Compilations of OpenVINO.

# As the exports of the fixture name them.
NETS = {
    "serving_default": ("rk4", 2),
    "euler_2": ("euler", 2),
    "midpoint_4": ("midpoint", 4),
}
SEVERAL = "--manifestations=euler:2,midpoint:4"
SCRIPTS = {
    "saved_model": (saved_model, SEVERAL),
    "tflite": (tflite, SEVERAL),
    "onnx": (onnx_graph, "--steps=2"),
}
# One image, an odd batch beyond batching.config's largest, and a large one.
BATCHES = (1, 33, 100)

# By name: the module it needs, and the signatures it runs of each format.
ALL, FIRST = tuple(NETS), ("serving_default",)
CASES = [
    ("openvino", "openvino", "saved_model", ALL),
    ("openvino", "openvino", "onnx", FIRST),
    # OpenVINO knows no signatures of a .tflite: it reads graph 0.
    ("openvino", "openvino", "tflite", FIRST),
    ("opencv", "cv2", "onnx", FIRST),
    ("compiled_model", "ai_edge_litert.compiled_model", "tflite", ALL),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two stages with the published padding on every side, random norms."""
    folder = tmp_path_factory.mktemp("runs") / "published-1"
    small = {"widths": (4, 6), "strides": (1, 2)}
    return save_run(folder, "cifar10_2-2-2_rk4", **small)


@pytest.fixture(scope="module")
def expected(run):
    """The logits of Keras of the largest batch, by signature."""
    images = pixels(max(BATCHES))
    return {
        signature: serving.keras_logits(copy_of_keras(run, *net), DIGITS)(images)
        for signature, net in NETS.items()
    }


@pytest.fixture(scope="module")
def artefact(run, digits_dir, tmp_path_factory):
    """A function: (format, kind of input) to the path of an export."""
    made = {}

    def build(form, kind):
        if (form, kind) not in made:
            script, more = SCRIPTS[form]
            output = tmp_path_factory.mktemp(form)
            arguments = [f"--run={run}", f"--data_dir={digits_dir}", more]
            arguments += [f"--output={output}", f"--input={kind}"]
            few = ["--parity_images=8", "--accuracy_images=8"]
            made[form, kind] = script.main(parse([*arguments, *few], script.Options))
        return made[form, kind]

    return build


@pytest.mark.parametrize("kind", ["uint8", "normalized"])
@pytest.mark.parametrize(
    "reader, module, form, signatures", CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES]
)
def test_every_signature_agrees_with_keras(
    artefact, expected, reader, module, form, signatures, kind
):
    pytest.importorskip(module)
    read = getattr(foreign_readers, reader)(artefact(form, kind))
    assert read.keys() == set(signatures)
    images = serving.feeder(DIGITS, kind)(pixels(max(BATCHES)))
    for signature in signatures:
        for batch in BATCHES:
            outputs, logits = read[signature](images[:batch]), expected[signature]
            np.testing.assert_allclose(
                outputs["logits"], logits[:batch], rtol=0, atol=1e-4
            )
            np.testing.assert_array_equal(outputs["label"], logits[:batch].argmax(-1))
            assert outputs["label"].dtype == np.int32
    for signature in set(NETS) - {"serving_default"}:
        # None of them stands in for another.
        apart = np.abs(expected[signature] - expected["serving_default"])
        assert apart.max() > 0.01
