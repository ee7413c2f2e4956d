"""ONNX graphs of several manifestations with one file of weights, for a page.

<folder>/<signature>.onnx    graphs, whose large tensors are in
<folder>/weights.bin         each stored once for all graphs

It is not in `table`: only `export/web.py` writes it, and reports measure ONNX.
"""

import hashlib
import pathlib

import onnx

from export import runtimes, staging
from export.formats import onnx_graph
from export.formats.record import Format, Precision, Recipe, Tensor
from export.gate import Gate
from export.source import Source

WEIGHTS = "weights.bin"

# Smaller tensors stay in the graph: shapes are read from there, and a reference to
# another file takes about 100 bytes.
_SMALLEST = 512
# For readers that map the file into memory.
_ALIGNMENT = 64


def build(source: Source, recipe: Recipe, description: dict, folder) -> pathlib.Path:
    """Writes one graph per signature and their weights; see `Format.build`."""
    path = pathlib.Path(folder, "model")
    with staging.writing():
        path.mkdir()
    weights = SharedWeights()
    for signature, graph in source.graphs.items():
        model = onnx_graph.finished(graph, source, recipe, description, folder)
        weights.take_from(model)
        with staging.writing():
            onnx.save(model, path / f"{signature}.onnx")
    with staging.writing():
        (path / WEIGHTS).write_bytes(weights.content)
    return path


class SharedWeights:
    """The large tensors of ONNX graphs, concatenated; equal ones are stored once.

    Attributes:
        content: The bytes so far.
    """

    def __init__(self):
        self.content = bytearray()
        self._places = {}

    def take_from(self, model: onnx.ModelProto) -> None:
        """Moves the large tensors of a graph here, and leaves references to them."""
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor).tobytes()
            if len(values) < _SMALLEST:
                continue
            place = self._place(values)
            tensor.ClearField("float_data")
            tensor.raw_data = values  # `set_external_data` requires it.
            onnx.external_data_helper.set_external_data(
                tensor, WEIGHTS, offset=place, length=len(values)
            )
            tensor.ClearField("raw_data")

    def _place(self, values: bytes) -> int:
        key = hashlib.sha256(values).digest()
        if key not in self._places:
            self.content += bytes(-len(self.content) % _ALIGNMENT)
            self._places[key] = len(self.content)
            self.content += values
        return self._places[key]


def reload(path, threads: int | None = None) -> dict:
    """Reads every graph with ONNX Runtime, by its signature."""
    files = sorted(pathlib.Path(path).glob("*.onnx"))
    return {
        file.stem: runtimes.onnx(file, threads)[runtimes.SIGNATURE] for file in files
    }


def tensors(path) -> dict[str, Tensor]:
    """See `Format.tensors`."""
    return onnx_graph.tensors(pathlib.Path(path, f"{runtimes.SIGNATURE}.onnx"))


_USAGE = {
    "python": onnx_graph.PYTHON.replace(
        '"$file")', '"$signature.onnx")  # weights.bin is beside it.'
    ),
    "shell": """\
python3 -m http.server --directory .  # Then open http://localhost:8000
""",
    "javascript": """\
import * as ort from "./onnxruntime/ort.js";

const weights = new Uint8Array(await (await fetch("weights.bin")).arrayBuffer());
const session = await ort.InferenceSession.create("$signature.onnx", {
  externalData: [{ path: "weights.bin", data: weights }],
});
const image = new ort.Tensor("uint8", new Uint8Array($size), [1, $shape]);
const { probabilities } = await session.run({ image });
""",
}

FORMAT = Format(
    "web",
    "page of ONNX graphs",
    {"float32": Precision(Gate.exact(1e-4), inputs=("uint8",))},
    folds=True,
    build=build,
    reload=reload,
    tensors=tensors,
    usage=_USAGE,
)
