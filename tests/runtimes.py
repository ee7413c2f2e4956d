"""Runs exports in runtimes of other makers and versions, and prints how they agree.

    python tests/runtimes.py
    python tests/runtimes.py --only=tflite-runtime,onnxruntime-web

builds an environment for each below build/runtimes/, which takes a package index, npm
and Debian's chromium, exports a net of random weights in every format and precision and
the shipped net of RGB images in some, and prints two Markdown tables: what agrees with
Keras, and what refuses what. Exit code 1 if a runtime answers and is wrong.

Reduced precision has no gate here: what it costs is a matter of the net. How far a
runtime is from our own reader of the same file is one of the runtime.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import browser  # noqa: E402
import numpy as np  # noqa: E402
from environments import environment, version  # noqa: E402
from runtime_readers import (  # noqa: E402
    LITERT_JS,
    InBrowser,
    Refused,
    browser_folder,
    in_process,
)
from trained_run import parse, pixels, save_run, ungated  # noqa: E402

from cnet_tf import pretrained  # noqa: E402
from export import (  # noqa: E402
    onnx_graph,
    parity,
    runtimes,
    saved_model,
    serving,
    tflite,
    web_runtime,
)
from export.run import Run  # noqa: E402
from export.source import Source  # noqa: E402
from trainers import results  # noqa: E402

BUILD = pathlib.Path(__file__).resolve().parents[1] / "build" / "runtimes"

# A net of two stages with the published padding, of grey images.
PRESET, NET = "cifar10_2-2-2_rk4", {"widths": (8, 16), "strides": (1, 2)}
GREY, RGB = "digits", "cifar10_any_depth"
# Of the net of grey images, beside the first.
OTHERS = (("euler", 2), ("midpoint", 4))
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
        net: Which is exported.
        kind: Of its input.
    """

    form: str
    precision: str
    title: str
    script: object
    flags: tuple[str, ...] = ()
    net: str = GREY
    kind: str = "uint8"

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
    Artefact("onnx", "float32", "RGB", onnx_graph, net=RGB),
    _tflite("float32", "three signatures", SEVERAL),
    *(_tflite(precision, "") for precision in ("float16", "dynamic", "int8")),
    _tflite("float32", "batch 1", ONE),
    _tflite("int8", "batch 1, floats outside", ONE, "--float_outputs", kind="float"),
    _tflite("float32", "probabilities, RGB", "--outputs=probabilities", net=RGB),
    _tflite("float32", "all outputs, RGB", net=RGB),
)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Something that runs exports.

    Attributes:
        title: For the table.
        reader: A key of `foreign_readers.READERS`, or an `InBrowser`.
        forms: Formats that it reads.
        package: Whose version is told; of a page its version.
        requirements: Of its environment; none takes this one.
        nets: Which it is given.
    """

    title: str
    reader: object
    forms: tuple[str, ...]
    package: str
    requirements: tuple[str, ...] = ()
    nets: tuple[str, ...] = (GREY,)


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
        nets=(RGB,),  # It takes no grey images.
    ),
    Runtime(
        *("onnxruntime-web", InBrowser("onnxruntime"), ("onnx",), web_runtime.VERSION),
        nets=(GREY, RGB),
    ),
    Runtime("LiteRT.js", InBrowser("litert"), ("tflite",), LITERT_JS),
)


# --- Artefacts --------------------------------------------------------------------


def read_sources(folder) -> dict[str, Source]:
    """What artefacts are of, by net: one of random norms, and the shipped one."""
    save_run(folder / GREY, PRESET, **NET)
    grey = Run(folder / GREY).read().manifested(others=OTHERS)
    return {GREY: grey, RGB: Run(pretrained.folder_of(RGB)).read()}


def export(artefact: Artefact, source: Source, folder) -> pathlib.Path:
    """Writes an artefact, and returns its path."""
    script = artefact.script
    script.FORMAT = ungated(script.FORMAT)
    few = ["--parity_images=20", "--accuracy_images=20"]
    if artefact.precision == "int8":
        few.append("--calibration_images=100")
    if artefact.net == GREY:
        few.append(f"--data_dir={folder / 'tfds'}")
    arguments = [f"--run={source.path}", f"--output={folder / artefact.name}", *few]
    arguments += [f"--input={artefact.kind}", *artefact.flags]
    return script.main(parse(arguments, script.Options))


def images_for(artefact: Artefact, source: Source) -> np.ndarray:
    """The largest batch, as it takes it."""
    images = pixels(max(BATCHES), source.data["image_shape"])
    return serving.feeder(source.data, artefact.kind)(images)


def expected(source: Source) -> dict:
    """The logits of Keras of the largest batch, by signature."""
    images = pixels(max(BATCHES), source.data["image_shape"])
    return {
        name: serving.keras_logits(net, source.data)(images)
        for name, net in source.nets.items()
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


def refusal(runtime, number, artefact, why) -> dict:
    """A line of the table of what is not taken."""
    return {
        "runtime": f"{runtime.title} {number}",
        "export": artefact.name,
        "what it says": str(why).replace("|", "/"),
    }


def batches_for(runtime: Runtime, artefact: Artefact) -> list[int]:
    """How many images at a time."""
    if ONE in artefact.flags:
        return [1]
    # MediaPipe takes one image, so its reader loops.
    return [33] if runtime.reader == "mediapipe" else list(BATCHES)


def takes(runtime: Runtime, artefact: Artefact) -> bool:
    """Whether an artefact is given to a runtime, which may still refuse it."""
    return artefact.form in runtime.forms and artefact.net in runtime.nets


@contextlib.contextmanager
def ready(runtime: Runtime, folder):
    """The version of a runtime, and a function: path, images, batches to outputs."""
    if isinstance(runtime.reader, InBrowser):
        with browser.chromium() as driver:
            run = functools.partial(runtime.reader, driver, browser_folder(BUILD))
            yield runtime.package, run
    else:
        home = BUILD / runtime.title.lower().replace(" ", "-")
        python = environment(home, runtime.requirements)
        run = functools.partial(in_process, runtime.reader, python, folder)
        yield version(python, runtime.package), run


def main(only: set[str]) -> int:
    """Prints the tables. Returns the exit code."""
    folder = BUILD / "exports"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chosen = [x for x in RUNTIMES if not only or x.title in only]
    artefacts = [x for x in ARTEFACTS if any(takes(each, x) for each in chosen)]
    sources = read_sources(folder)
    paths = {x: export(x, sources[x.net], folder) for x in artefacts}
    images = {x: images_for(x, sources[x.net]) for x in artefacts}
    logits = {name: expected(source) for name, source in sources.items()}
    owns = {}
    for artefact, path in paths.items():
        read = getattr(runtimes, artefact.form)(path)
        owns[artefact] = {name: call(images[artefact]) for name, call in read.items()}
    rows, refused, wrong = [], [], []
    for runtime in chosen:
        with ready(runtime, folder) as (number, run):
            for artefact in filter(functools.partial(takes, runtime), artefacts):
                path = paths[artefact]
                batches = batches_for(runtime, artefact)
                try:
                    outputs = run(path, images[artefact], batches)
                except Refused as why:
                    refused.append(refusal(runtime, number, artefact, why))
                    print(json.dumps(refused[-1]))
                    continue
                tensors = artefact.script.FORMAT.tensors(path)
                found = compared(outputs, logits[artefact.net], owns[artefact], tensors)
                rows.append(row(runtime, number, artefact, found))
                print(json.dumps(rows[-1]))
                if artefact.precision == "float32" and found["to_keras"] > GATE:
                    wrong.append(f"{runtime.title}, {artefact.name}")
    for table in filter(None, (rows, refused)):
        print(f"\n{results.table(table)}")
    for line in wrong:
        print(f"error: expected logits within {GATE:.0e} of Keras. Received: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    titles = ", ".join(runtime.title for runtime in RUNTIMES)
    parser.add_argument("--only", default="", help=f"with commas, of {titles}")
    words = filter(None, parser.parse_args().only.split(","))
    sys.exit(main(set(words)))
