"""A .tflite after its conversion: short names, metadata, and what can be read of it.

The metadata are a zip archive behind the flatbuffer, where tools for TFLite metadata
look for associated files; `unzip model.tflite` shows them. (Their own schema has no
package for this Python.) Runtimes do not read beyond the flatbuffer.
"""

import io
import json
import zipfile

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_LABELS = "labels.txt"
_DESCRIPTION = "metadata.json"
# An archive has a time for every file; the first that it can tell.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def without_names(content: bytes) -> bytes:
    """The file without the names of its intermediate tensors.

    They are long, one for each operation: of a net with eight RK4 steps a block they
    are 6 % of the file. Signatures find their tensors by number.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            if i not in ends:
                tensor.name = b""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_metadata(content: bytes, description: dict) -> bytes:
    """The file with a description and its labels behind it.

    Args:
        content: A .tflite file.
        description: From `describe`.
    """
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in (
            (_LABELS, "".join(f"{label}\n" for label in description["labels"])),
            (_DESCRIPTION, json.dumps(description, indent=1, sort_keys=True) + "\n"),
        ):
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), text)
    return file.getvalue()


def read_metadata(path) -> dict:
    """The description in a file of `with_metadata`."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(_DESCRIPTION))


def operators(path, signature: str = "serving_default") -> list[str]:
    """The built-in operators that a signature runs, in order, by name."""
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = (
        model.subgraphs[found.subgraphIndex]
        for found in model.signatureDefs
        if found.signatureKey.decode() == signature
    )
    names = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if isinstance(number, int)
    }
    codes = [
        max(code.builtinCode, code.deprecatedBuiltinCode)
        for code in model.operatorCodes
    ]
    return [names[codes[operator.opcodeIndex]] for operator in graph.operators]
