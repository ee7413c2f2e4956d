"""Finishes a converted .tflite: adds metadata and labels, and shrinks it.

Metadata are entries in the flatbuffer's own list: LiteRT's standard metadata, see
`tflite_metadata`, and the whole description as JSON, named `cnet_tf`. Labels are in a
zip archive appended to it, which `unzip model.tflite` extracts and runtimes ignore.
"""

import io
import json
import zipfile

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from cnet_tf.escaping import lines
from export import tflite_graph, tflite_metadata
from export.parity import ParityError
from export.runtimes import SIGNATURE

_ENTRY = "cnet_tf"
# A zip archive stores a time for every file; this is the earliest.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def finish(content: bytes, description: dict) -> bytes:
    """Returns the file to ship: the same graphs in fewer bytes, with metadata.

    Outputs are in the order of the description, and inputs and outputs have the names
    that signatures give them, for readers that ignore signatures.

    Args:
        content: The file as the converter wrote it.
        description: From `describe`.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    tflite_graph.read_labels_from_integers(model)
    tflite_graph.strip(model)
    tflite_graph.put_first(model, SIGNATURE)
    tflite_graph.name_ends(model, description["outputs"])
    _add_metadata(model, _ENTRY, json.dumps(description, sort_keys=True).encode())
    _add_metadata(model, tflite_metadata.ENTRY, tflite_metadata.pack(description))
    file = io.BytesIO(tflite_graph.pack(model))
    with zipfile.ZipFile(file, "a") as archive:
        labels = lines(description["labels"])
        archive.writestr(zipfile.ZipInfo(tflite_metadata.LABELS, _NO_TIME), labels)
    return file.getvalue()


def _add_metadata(model, name: str, content: bytes) -> None:
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(content, np.uint8)
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)


def read_metadata(path) -> dict:
    """Reads the description from a file written by `finish`.

    Raises:
        KeyError: there is none.
    """
    model = flatbuffer_utils.read_model(str(path))
    entries = {entry.name.decode(): entry.buffer for entry in model.metadata}
    return json.loads(model.buffers[entries[_ENTRY]].data.tobytes())


def require_pixels(path) -> None:
    """Raises ParityError unless every signature takes unscaled uint8 pixels."""
    model = flatbuffer_utils.read_model(str(path))
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        (image,) = (graph.tensors[i] for i in graph.inputs)
        found = [*image.quantization.scale, *image.quantization.zeroPoint]
        if image.type != schema.TensorType.UINT8 or found != [1, 0]:
            raise ParityError(
                "tflite: expected pixels with scale 1 and zero point 0. Received "
                f"{found}: nothing was written, please report it."
            )


def operators(path, signature: str = "serving_default") -> list[str]:
    """Lists the built-in operators that a signature runs, in order, by name."""
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = (
        model.subgraphs[found.subgraphIndex]
        for found in model.signatureDefs
        if found.signatureKey.decode() == signature
    )
    return [_name(model, operator) for operator in graph.operators]


def float_operators(path) -> list[str]:
    """Lists the operators of all graphs that take and give floats, by name, in order.

    Those that only convert between floats and integers are left out.
    """
    model = flatbuffer_utils.read_model(str(path))
    return [
        _name(model, operator)
        for graph in model.subgraphs
        for operator in graph.operators
        if _has_floats(graph, operator.inputs) and _has_floats(graph, operator.outputs)
    ]


def _has_floats(graph, numbers) -> bool:
    # A number of -1 stands for an input that is left out.
    types = {graph.tensors[i].type for i in numbers if i >= 0}
    return schema.TensorType.FLOAT32 in types


def _name(model, operator) -> str:
    code = tflite_graph.builtin(model.operatorCodes[operator.opcodeIndex])
    return next(
        name for name, number in vars(schema.BuiltinOperator).items() if number == code
    )
