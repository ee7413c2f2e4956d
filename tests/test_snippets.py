"""The snippets of model cards run as they are printed."""

import contextlib
import http.server
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from trained_run import DIGITS, parse, pixels, ungated

from export import onnx_graph, runtimes, saved_model, serving, tflite

pytestmark = pytest.mark.slow  # Processes of their own.

SCRIPTS = {"saved_model": saved_model, "tflite": tflite, "onnx": onnx_graph}

# Options that change how an artefact is called.
CASES = {
    "saved_model": ("saved_model",),
    "saved_model of pixels": ("saved_model", "--input=uint8", "--outputs=label"),
    "saved_model of files": ("saved_model", "--input=encoded", "--model_name=m"),
    "tflite": ("tflite",),
    "tflite of floats, one batch": (
        "tflite",
        "--input=float",
        "--batch=3",
        "--outputs=probabilities,label",
    ),
    "tflite in int8": ("tflite", "--precision=int8"),
    "tflite in int8 of pixels": ("tflite", "--precision=int8", "--input=uint8"),
    "tflite in int8, floats": (
        "tflite",
        "--precision=int8",
        "--input=float",
        "--float_outputs",
        "--outputs=probabilities",
    ),
    "onnx": ("onnx", "--outputs=label,logits"),
    "onnx in int8 of pixels": ("onnx", "--precision=int8", "--input=uint8"),
}


@pytest.fixture(scope="module", params=CASES)
def artefact(request, runs, digits_dir, tmp_path_factory):
    """The folder of an artefact, its card and how its input is made of pixels."""
    form, *more = CASES[request.param]
    script = SCRIPTS[form]
    arguments = [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
    arguments += [f"--output={tmp_path_factory.mktemp('exports')}"]
    few = ["--accuracy_images=8"]
    if form != "saved_model":
        few.append("--calibration_images=100")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "FORMAT", ungated(script.FORMAT))
        options = parse([*arguments, *few, *more], script.Options)
        path = script.main(options)
    card = path / "model_card.md"
    if path.is_file():
        card = path.with_name(f"{path.name}.md")
    return form, path, card.read_text(), options


def snippet(text, language) -> str:
    """The one block of a language in a card."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.S)
    return found


def test_python(artefact, monkeypatch):
    """It prints what the artefact gives for its pixels, as real numbers."""
    form, path, card, options = artefact
    monkeypatch.chdir(path if path.is_dir() else path.parent)
    printed, scope = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(compile(snippet(card, "python"), "card", "exec"), scope)  # noqa: S102
    feed = serving.feeder(DIGITS, options.input)
    call = getattr(runtimes, form)(path)[runtimes.SIGNATURE]
    expected = call(feed(np.zeros((options.batch or 1, 8, 8, 1), np.uint8)))
    names = [line.split()[0] for line in printed.getvalue().splitlines()]
    assert [name for name in names if name in expected] == list(options.outputs)
    for name in options.outputs:
        # The expression that is printed, once more.
        (shown,) = re.findall(rf'print\("{name}", (.*)\)\n', snippet(card, "python"))
        found = eval(shown, scope)  # noqa: S307
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)


def test_python_quantises_other_pixels_too(artefact):
    """Black alone would not show a wrong scale."""
    form, path, card, options = artefact
    lines = snippet(card, "python").split("# Your images.\n")[1]
    lines = lines.split("outputs = ")[0].split("names = ")[0]
    scope = {"np": np, "tf": tf, "pixels": pixels(options.batch or 1)}
    exec(compile(lines, "card", "exec"), scope)  # noqa: S102
    expected = serving.feeder(DIGITS, options.input)(scope["pixels"])
    found, tensor = (
        np.array(scope["image"]),
        SCRIPTS[form].FORMAT.tensors(path)["image"],
    )
    if options.input == "encoded":
        np.testing.assert_array_equal(found, expected)
        return
    assert found.dtype == tensor.dtype
    if tensor.scale:  # To the nearest level.
        found = tensor.scale * (found.astype("float32") - tensor.zero_point)
    np.testing.assert_allclose(found, expected, atol=max(0.501 * tensor.scale, 1e-6))


class Server(http.server.BaseHTTPRequestHandler):
    """Stands for TF Serving's REST interface: rows of instances in, rows out."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        answer = json.dumps({"predictions": "here"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def server():
    """A server that is the proxy of every request, whatever host and port it names."""
    found = http.server.HTTPServer(("127.0.0.1", 0), Server)
    found.asked = []
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def _run(command, folder, **environment):
    """A shell with this Python first on its PATH."""
    binaries = pathlib.Path(sys.executable).parent
    path = os.pathsep.join([str(binaries), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def test_shell(artefact, server, tmp_path):
    form, path, card, options = artefact
    if form == "saved_model" and not shutil.which("curl"):
        pytest.skip("no curl on the PATH")
    folder = path.parent
    if path.is_dir():
        folder = tmp_path
        (image,) = serving.feeder(DIGITS, "encoded")(pixels(1))
        (tmp_path / "image.png").write_bytes(bytes(image))
    proxy = f"http://127.0.0.1:{server.server_port}"
    done = _run(snippet(card, "shell"), folder, http_proxy=proxy, no_proxy="")
    assert done.returncode == 0, done.stderr
    if form != "saved_model":
        assert done.stdout.strip() or done.stderr.strip()
        return
    assert json.loads(done.stdout) == {"predictions": "here"}
    ((where, request),) = server.asked
    model = options.model_name
    assert where == f"http://localhost:8501/v1/models/{model}:predict"
    (instance,) = request["instances"]
    signature = tf.saved_model.load(str(path)).signatures[request["signature_name"]]
    spec = signature.structured_input_signature[1]["image"]
    assert instance.keys() == {"image"}
    if options.input == "encoded":
        assert spec.dtype == tf.string and instance["image"].keys() == {"b64"}
    else:
        image = tf.constant([instance["image"]], spec.dtype)
        assert spec.is_compatible_with(image)


def test_cpp_of_a_saved_model(artefact, tmp_path):
    """Compiled with TensorFlow's headers and library, run in the folder of the card."""
    form, path, card, options = artefact
    compiler = shutil.which("g++") or shutil.which("clang++")
    library = pathlib.Path(tf.sysconfig.get_lib())
    if form != "saved_model":
        pytest.skip("LiteRT and ONNX Runtime ship no C++ headers for Python")
    if not compiler or not list(library.glob("libtensorflow_cc.so*")):
        pytest.skip("no C++ compiler, or no libtensorflow_cc")
    (tmp_path / "card.cc").write_text(snippet(card, "cpp"))
    (image,) = serving.feeder(DIGITS, "encoded")(pixels(1))
    # Beside a copy of the model: an export is left as it is.
    folder = shutil.copytree(path, tmp_path / "1")
    (folder / "image.png").write_bytes(bytes(image))
    flags = [
        *tf.sysconfig.get_compile_flags(),
        f"-L{library}",
        "-Wl,--no-as-needed",
        *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
        f"-Wl,-rpath,{library}",
    ]
    program = tmp_path / "card"
    built = subprocess.run(
        [compiler, "-w", "-O0", tmp_path / "card.cc", "-o", program, *flags],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first = "int32" if options.outputs[0] == "label" else "float"
    assert f"Tensor<type: {first}" in done.stdout
