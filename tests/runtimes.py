"""Runs exports in runtimes of other makers and versions, and prints how they agree.

    python tests/runtimes.py
    python tests/runtimes.py --only=tflite-runtime,onnxruntime-web

builds an environment for each below build/runtimes/, which takes a package index, npm
and Debian's chromium, exports a net of random weights in every format and precision,
and prints two Markdown tables: what agrees with Keras, and what refuses what. Exit
code 1 if a runtime answers and is wrong.

Reduced precision has no gate here: what it costs is a matter of the net. How far a
runtime is from our own reader of the same file is one of the runtime.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import browser  # noqa: E402
import numpy as np  # noqa: E402
from trained_run import (  # noqa: E402
    DIGITS,
    parse,
    pixels,
    save_run,
    ungated,
)

import cnet_tf  # noqa: E402
from cnet_tf import checkpoint  # noqa: E402
from export import (  # noqa: E402
    onnx_graph,
    parity,
    runtimes,
    saved_model,
    serving,
    tflite,
    web_runtime,
)

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "runtimes"

# A net of two stages with the published padding. That of colours is for MediaPipe,
# which takes no grey images.
PRESET, NET = "cifar10_2-2-2_rk4", {"widths": (8, 16), "strides": (1, 2)}
COLOURS = {**DIGITS, "image_shape": [8, 8, 3], "mean": [0.0] * 3, "std": [1.0] * 3}
# By signature.
NETS = {
    "serving_default": ("rk4", 2),
    "euler_2": ("euler", 2),
    "midpoint_4": ("midpoint", 4),
}
SEVERAL = "--manifestations=euler:2,midpoint:4"
BATCHES = (1, 33, 100)
# Of float32, to Keras.
GATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Artefact:
    """An export to run.

    Attributes:
        form: Name of its format.
        precision: Of the format.
        title: What distinguishes it, for the table.
        script: Of export/.
        flags: Given to it.
        colours: Whether it is of the net of RGB images.
        kind: Of its input.
    """

    form: str
    precision: str
    title: str
    script: object
    flags: tuple[str, ...] = ()
    colours: bool = False
    kind: str = "uint8"

    @property
    def data(self) -> dict:
        """What the trainer says of its images."""
        return COLOURS if self.colours else DIGITS

    @property
    def images(self) -> np.ndarray:
        """The largest batch, as it takes it."""
        shape = self.data["image_shape"]
        return serving.feeder(self.data, self.kind)(pixels(max(BATCHES), shape))

    @property
    def name(self) -> str:
        """As a folder, and in messages."""
        words = f"{self.form} {self.precision} {self.title}"
        return words.replace(", ", "-").replace(" ", "-").strip("-")


def _tflite(precision, title, *flags, **settings):
    more = () if precision == "float32" else (f"--precision={precision}",)
    return Artefact("tflite", precision, title, tflite, (*more, *flags), **settings)


ONE = "--batch=1"
ARTEFACTS = (
    Artefact("saved_model", "float32", "three signatures", saved_model, (SEVERAL,)),
    Artefact("onnx", "float32", "", onnx_graph),
    Artefact("onnx", "int8", "", onnx_graph, ("--precision=int8",)),
    _tflite("float32", "three signatures", SEVERAL),
    *(_tflite(precision, "") for precision in ("float16", "dynamic", "int8")),
    _tflite("float32", "batch 1", ONE),
    _tflite("int8", "batch 1, floats outside", ONE, "--float_outputs", kind="float"),
    _tflite("float32", "probabilities, RGB", "--outputs=probabilities", colours=True),
    _tflite("float32", "all outputs, RGB", colours=True),
)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Something that runs exports.

    Attributes:
        title: For the table.
        reader: A key of `foreign_readers.READERS`, or a function of an artefact's path,
            its images and its batches to its outputs, see `foreign_readers.main`.
        forms: Formats that it reads.
        package: Whose version is told.
        requirements: Of its environment; none takes this one.
        colours: Whether it takes RGB images alone.
    """

    title: str
    reader: object
    forms: tuple[str, ...]
    package: str
    requirements: tuple[str, ...] = ()
    colours: bool = False


# --- Environments -----------------------------------------------------------------


def environment(runtime: Runtime) -> str:
    """The interpreter that has a runtime; built where it is missing or another."""
    if not runtime.requirements:
        return sys.executable
    folder = BUILD / runtime.title.lower().replace(" ", "-")
    stamp, wanted = folder / "requirements.txt", "\n".join(runtime.requirements)
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *runtime.requirements], check=True)
        stamp.write_text(wanted)
    return str(python)


def version(runtime: Runtime, python: str) -> str:
    """Of the package of a runtime, in its environment."""
    if not runtime.requirements:
        return importlib.metadata.version(runtime.package)
    code = f"import importlib.metadata as m; print(m.version({runtime.package!r}))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True)
    return done.stdout.decode().strip()


def npm_package(name: str) -> pathlib.Path:
    """A package of npm, `<name>@<version>`, unpacked."""
    folder = BUILD / name.replace("/", "-")
    if not folder.is_dir():
        archive = BUILD / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        archive.mkdir(parents=True)
        pack = ["npm", "pack", name, "--silent", "--pack-destination", str(archive)]
        subprocess.run(pack, check=True, capture_output=True)
        (file,) = archive.glob("*.tgz")
        with tarfile.open(file) as package:
            package.extractall(archive, filter="data")
        (archive / "package").rename(folder)
    return folder


# --- Readers ----------------------------------------------------------------------


class Refused(Exception):
    """A runtime does not take an artefact. The message is a line."""


def in_process(reader, python, path, images, batches, folder) -> dict:
    """Runs a reader of `foreign_readers` with an interpreter."""
    np.save(folder / "images.npy", images)
    result = folder / "result.npz"
    result.unlink(missing_ok=True)
    arguments = [reader, path, folder / "images.npy", batches, result]
    done = subprocess.run(
        [python, HERE / "foreign_readers.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise Refused(_reason(done.stderr) or f"exit code {done.returncode}")
    with np.load(result) as found:
        return dict(found)


def _reason(text: str) -> str:
    """The line of an output that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [x for x in lines if "Error" in x or "error:" in x or "expected" in x]
    return (errors or lines or [""])[-1][:300]


_PAGE = """<!doctype html><meta charset="utf-8">
<script type="importmap">{"imports": {"@litertjs/wasm-utils": "./utils/bundle.js"}}
</script><script type="module">
const numbers = (values) => [...values].map(Number);
async function bytes(path) {
  return new Uint8Array(await (await fetch(path)).arrayBuffer());
}
window.onnxruntime = async (path, pixels, shape) => {
  const ort = await import("./onnxruntime/ort.js");
  ort.env.wasm.numThreads = 1;
  const wasm = new URL("onnxruntime/ort.wasm", location.href).href;
  ort.env.wasm.wasmPaths = { wasm };
  const session = await ort.InferenceSession.create(await bytes(path));
  const image = new ort.Tensor("uint8", Uint8Array.from(pixels), shape);
  const outputs = await session.run({ image });
  return Object.entries(outputs).map(([name, x]) => [name, x.dims, numbers(x.data)]);
};
window.litert = async (path, pixels, shape, array) => {
  const litert = await import("./litert/dist/index.js");
  window.loaded ??= litert.loadLiteRt(new URL("litert/wasm/", location.href).href);
  await window.loaded;
  const model = await litert.loadAndCompile(await bytes(path), { accelerator: "wasm" });
  const image = new litert.Tensor(window[array].from(pixels), shape);
  const outputs = await model.run({ image });
  const found = [];
  for (const [name, x] of Object.entries(outputs)) {
    found.push([name, [...x.type.layout.dimensions], numbers(x.toTypedArray())]);
  }
  return found;
};
document.body.dataset.state = "ready";
</script><body></body>
"""


@dataclasses.dataclass
class Browser:
    """Runs one image at a time, or batches, in a page of its own."""

    function: str

    def __call__(self, driver, folder, path, images, batches) -> dict:
        """See `foreign_readers.main`."""
        found = {}
        shutil.copyfile(path, folder / "artefact")
        with browser.served(folder) as url:
            driver.get(url)
            for batch in batches:
                part = images[:batch]
                answer = driver.execute_async_script(
                    "const done = arguments[arguments.length - 1];"
                    "const run = () => window[arguments[0]]('artefact', arguments[1],"
                    " arguments[2], arguments[3]).then((x) => done([x, '']),"
                    " (error) => done([null, String(error?.message ?? error)]));"
                    "const wait = () => window[arguments[0]] ? run()"
                    " : setTimeout(wait, 50); wait();",
                    self.function,
                    part.ravel().tolist(),
                    list(part.shape),
                    {"uint8": "Uint8Array", "float32": "Float32Array"}[part.dtype.name],
                )
                outputs, error = answer
                if error:
                    raise Refused(" ".join(error.split())[:300])
                for name, shape, values in outputs:
                    array = np.array(values, "float32").reshape(shape)
                    found[f"serving_default/{batch}/{name}"] = array
        return found


def browser_folder() -> pathlib.Path:
    """A folder with the page and the packages of npm that it runs."""
    folder = BUILD / "browser"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(_PAGE)
    web_runtime.copy(web_runtime.find(None), folder / "onnxruntime")
    litert = npm_package(f"@litertjs/core@{LITERT_JS}")
    utils = npm_package(f"@litertjs/wasm-utils@{LITERT_JS}")
    (folder / "litert").symlink_to(litert)
    (folder / "utils").symlink_to(utils / "dist")
    return folder


LITERT_JS = "2.5.3"
RUNTIMES = (
    Runtime("OpenVINO", "openvino", ("saved_model", "onnx", "tflite"), "openvino"),
    Runtime("OpenCV dnn", "opencv", ("onnx",), "opencv-python-headless"),
    Runtime("LiteRT CompiledModel", "compiled_model", ("tflite",), "ai-edge-litert"),
    Runtime(
        *("TensorFlow", "saved_model", ("saved_model",), "tensorflow"),
        ("tensorflow==2.20.*",),
    ),
    Runtime(
        *("tflite-runtime", "tflite_runtime", ("tflite",), "tflite-runtime"),
        ("tflite-runtime==2.14.0", "numpy<2"),
    ),
    Runtime(
        *("ONNX Runtime", "onnx", ("onnx",), "onnxruntime"),
        ("onnxruntime==1.17.3", "numpy<2"),
    ),
    Runtime(
        *("MediaPipe Tasks", "mediapipe", ("tflite",), "mediapipe"),
        ("mediapipe>=1,<2",),
        colours=True,
    ),
    Runtime("onnxruntime-web", Browser("onnxruntime"), ("onnx",), web_runtime.VERSION),
    Runtime("LiteRT.js", Browser("litert"), ("tflite",), LITERT_JS),
)


# --- Artefacts --------------------------------------------------------------------


def save_nets(folder) -> dict:
    """Saves nets of random norms. Returns flags by whether images have colours."""
    run = save_run(folder / "grey", PRESET, **NET)
    save_run(folder / "colours", PRESET, COLOURS, (8, 8, 3), **NET)
    net = checkpoint.load(folder / "colours" / "net").net
    net.save(folder / "colours.keras")
    return {False: f"--run={run}", True: f"--model={folder / 'colours.keras'}"}


def export(artefact: Artefact, source: str, folder) -> pathlib.Path:
    """Writes an artefact, and returns its path."""
    script = artefact.script
    script.FORMAT = ungated(script.FORMAT)
    few = ["--parity_images=20", "--accuracy_images=20", "--calibration_images=100"]
    if script is saved_model or artefact.colours:
        few.pop()
    arguments = [source, f"--output={folder / artefact.name}", *few]
    arguments += [f"--data_dir={folder / 'tfds'}", f"--input={artefact.kind}"]
    return script.main(parse([*arguments, *artefact.flags], script.Options))


def expected(folder, colours: bool) -> dict:
    """The logits of Keras of the largest batch, by signature."""
    net = checkpoint.load(folder / ("colours" if colours else "grey") / "net").net
    data = COLOURS if colours else DIGITS
    images = pixels(max(BATCHES), data["image_shape"])
    return {
        name: serving.keras_logits(cnet_tf.manifest(net, *scheme), data)(images)
        for name, scheme in NETS.items()
    }


# --- Comparison -------------------------------------------------------------------


def as_real(values, tensor):
    """The real numbers of integers that an output holds."""
    if values.dtype.kind != "i" or not tensor.scale:
        return values
    return tensor.scale * (values.astype("float32") - tensor.zero_point)


def compared(found: dict, logits: dict, own: dict, tensors: dict) -> dict:
    """How outputs differ from Keras, and from our own reader of the same file."""
    names = ("logits", "probabilities")
    output = next(x for x in names if any(key.endswith(f"/{x}") for key in found))
    to_keras, to_own = 0.0, 0.0
    for key, values in found.items():
        signature, batch, name = key.split("/")
        if name != output:
            continue
        values = as_real(values, tensors[output])
        reference = logits[signature][: int(batch)]
        if output == "probabilities":
            powers = np.exp(reference - reference.max(-1, keepdims=True))
            reference = powers / powers.sum(-1, keepdims=True)
        to_keras = max(to_keras, parity.max_delta(reference, values))
        theirs = own[signature][output][: int(batch)]
        to_own = max(to_own, parity.max_delta(theirs, values))
    keys = [key.split("/") for key in found]
    return {
        "signatures": len({key[0] for key in keys}),
        "batches": ", ".join(map(str, sorted({int(key[1]) for key in keys}))),
        "output": output,
        "to_keras": to_keras,
        "to_own": to_own,
    }


def row(runtime, number, artefact, found) -> dict:
    """A line of the table."""
    return {
        "runtime": f"{runtime.title} {number}",
        "format": artefact.form,
        "precision": artefact.precision,
        "export": artefact.title or "one signature",
        "signatures": str(found["signatures"]),
        "batches": found["batches"],
        "output": found["output"],
        "max abs delta, Keras": f"{found['to_keras']:.1e}",
        "max abs delta, our reader": f"{found['to_own']:.1e}",
    }


def run_one(runtime, python, artefact, path, images, folder, driver) -> dict:
    """The outputs of an artefact in a runtime; batches as the artefact takes them.

    Raises:
        Refused: it does not take it.
    """
    batches = [1] if ONE in artefact.flags else list(BATCHES)
    if runtime.colours:
        batches = [33]  # One image at a time, by the reader.
    if isinstance(runtime.reader, Browser):
        return runtime.reader(driver, BUILD / "browser", path, images, batches)
    words = ",".join(map(str, batches))
    return in_process(runtime.reader, python, path, images, words, folder)


def takes(runtime: Runtime, artefact: Artefact) -> bool:
    """Whether an artefact is given to a runtime, which may still refuse it."""
    fits = artefact.form in runtime.forms
    return fits and artefact.colours == runtime.colours


def main(only: set[str]) -> int:
    """Prints the tables. Returns the exit code."""
    folder = BUILD / "exports"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chosen = [x for x in RUNTIMES if not only or x.title in only]
    artefacts = [x for x in ARTEFACTS if any(takes(each, x) for each in chosen)]
    sources = save_nets(folder)
    paths = {x.name: export(x, sources[x.colours], folder) for x in artefacts}
    logits = {colours: expected(folder, colours) for colours in (False, True)}
    owns = {}
    for artefact in artefacts:
        read = getattr(runtimes, artefact.form)(paths[artefact.name])
        owns[artefact.name] = {
            name: call(artefact.images) for name, call in read.items()
        }
    rows, refused, wrong = [], [], []
    in_browser = any(isinstance(x.reader, Browser) for x in chosen)
    if in_browser:
        browser_folder()
    with browser.chromium() if in_browser else contextlib.nullcontext() as driver:
        for runtime in chosen:
            if isinstance(runtime.reader, Browser):
                python, number = None, runtime.package
            else:
                python = environment(runtime)
                number = version(runtime, python)
            for artefact in filter(functools.partial(takes, runtime), artefacts):
                try:
                    outputs = run_one(
                        *(runtime, python, artefact, paths[artefact.name]),
                        *(artefact.images, folder, driver),
                    )
                except Refused as why:
                    refused.append(
                        {
                            "runtime": f"{runtime.title} {number}",
                            "export": artefact.name,
                            "what it says": str(why).replace("|", "/"),
                        }
                    )
                    print(json.dumps(refused[-1]))
                    continue
                tensors = artefact.script.FORMAT.tensors(paths[artefact.name])
                found = compared(
                    outputs, logits[artefact.colours], owns[artefact.name], tensors
                )
                rows.append(row(runtime, number, artefact, found))
                print(json.dumps(rows[-1]))
                if artefact.precision == "float32" and found["to_keras"] > GATE:
                    wrong.append(f"{runtime.title}, {artefact.name}")
    for table in filter(None, (rows, refused)):
        print(f"\n{parity.table(table)}")
    for line in wrong:
        print(f"error: expected logits within {GATE:.0e} of Keras. Received: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    titles = ", ".join(runtime.title for runtime in RUNTIMES)
    parser.add_argument("--only", default="", help=f"with commas, of {titles}")
    words = filter(None, parser.parse_args().only.split(","))
    sys.exit(main(set(words)))
