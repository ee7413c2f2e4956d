"""Shrinks the graphs of a .tflite without changing what they compute.

Models here are `ModelT` objects, unpacked flatbuffers.
"""

import types

import flatbuffers
import numpy as np
from ai_edge_litert.schema_py_generated import BuiltinOperator

# `Buffer.data` in the schema: force_align 16, for vector units and flash memory.
_ALIGNMENT = 16
_NONE = types.SimpleNamespace()
# The first version of ARG_MAX that takes int8.
_INTEGER_ARG_MAX = 2


def builtin(code) -> int:
    """Reads the number of an operator code, stored in two fields for old readers."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def strip(model) -> None:
    """Removes what intermediate tensors contain only for the converter.

    Each has an empty buffer, although the schema has buffer 0 for all of them, and an
    empty quantisation in float graphs. Each has a name longer than the rest of the
    tensor, which becomes `t<number>`: signatures find their tensors by number, but
    OpenVINO and OpenCV cannot read a file whose tensors have no names or equal ones.
    """
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            if i not in ends:
                tensor.name = f"t{i}"
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data):
                tensor.buffer = 0
            quantization = tensor.quantization
            if quantization is not None and quantization.scale is None:
                tensor.quantization = None
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    holders += model.metadata
    used = {0, *(holder.buffer for holder in holders)}
    model.buffers, number = _kept(model.buffers, used)
    for holder in holders:
        holder.buffer = number[holder.buffer]


def put_first(model, signature: str) -> None:
    """Makes the graph of a signature number 0, and the signature the first.

    Readers that ignore signatures run graph 0; the converter sorts by name.
    """
    first = next(
        found.subgraphIndex
        for found in model.signatureDefs
        if _text(found.signatureKey) == signature
    )
    order = [first, *(i for i in range(len(model.subgraphs)) if i != first)]
    number = {old: new for new, old in enumerate(order)}
    model.subgraphs = [model.subgraphs[i] for i in order]
    for found in model.signatureDefs:
        found.subgraphIndex = number[found.subgraphIndex]
    model.signatureDefs.sort(key=lambda found: found.subgraphIndex)
    for graph in model.subgraphs:
        for operator in graph.operators:
            for name, value in list(vars(operator.builtinOptions or _NONE).items()):
                if name.endswith("ubgraphIndex"):  # Of loops and conditions.
                    setattr(operator.builtinOptions, name, number[value])


def name_ends(model, outputs) -> None:
    """Names inputs and outputs as signatures do, and orders the outputs.

    Args:
        model: Modified in place.
        outputs: Names of the outputs in order; all signatures have them.
    """
    for found in model.signatureDefs:
        graph = model.subgraphs[found.subgraphIndex]
        for end in (*found.inputs, *found.outputs):
            graph.tensors[end.tensorIndex].name = _text(end.name)
        found.outputs.sort(key=lambda end: outputs.index(_text(end.name)))
        places = [end.tensorIndex for end in found.outputs]
        graph.outputs = np.array(places, np.int32)


def _text(name) -> str:
    return name if isinstance(name, str) else name.decode()


def _kept(items, used):
    """Returns the items with these numbers, and their new numbers by old ones."""
    number = {old: new for new, old in enumerate(sorted(used))}
    return [items[old] for old in number], number


def read_labels_from_integers(model) -> None:
    """Makes ARG_MAX read integers where the converter dequantises them first.

    argmax(s (q - z)) = argmax(q) because s > 0; ties stay ties. Nothing else is left
    in floats.
    """
    codes = model.operatorCodes
    for index, graph in enumerate(model.subgraphs):
        sources = {
            operator.outputs[0]: operator
            for operator in graph.operators
            if builtin(codes[operator.opcodeIndex]) == BuiltinOperator.DEQUANTIZE
        }
        for operator in graph.operators:
            code = codes[operator.opcodeIndex]
            source = sources.get(operator.inputs[0])
            if builtin(code) == BuiltinOperator.ARG_MAX and source is not None:
                operator.inputs = np.array([source.inputs[0], *operator.inputs[1:]])
                code.version = max(code.version, _INTEGER_ARG_MAX)
        _drop(model, index, sources.values())
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    # Small runtimes must implement every operator listed.
    used = {operator.opcodeIndex for operator in operators}
    model.operatorCodes, number = _kept(codes, used)
    for operator in operators:
        operator.opcodeIndex = number[operator.opcodeIndex]


def _drop(model, index, candidates):
    """Drops those candidates of a graph that nothing reads, with their outputs."""
    graph = model.subgraphs[index]
    read = {*graph.outputs, *(i for o in graph.operators for i in o.inputs)}
    unused = [o for o in candidates if read.isdisjoint(o.outputs)]
    graph.operators = [o for o in graph.operators if o not in unused]
    gone = {i for operator in unused for i in operator.outputs}
    graph.tensors, number = _kept(
        graph.tensors, {*range(len(graph.tensors))}.difference(gone)
    )
    number[-1] = -1  # An omitted optional input.
    for holder in (graph, *graph.operators):
        for name in ("inputs", "outputs"):
            tensors = [number[i] for i in getattr(holder, name)]
            setattr(holder, name, np.array(tensors, np.int32))
    for signature in model.signatureDefs:
        if signature.subgraphIndex == index:
            for tensor in (*signature.inputs, *signature.outputs):
                tensor.tensorIndex = number[tensor.tensorIndex]


class _Builder(flatbuffers.Builder):
    """Writes equal vectors once, and aligns tensor data as the schema requires.

    Many tensors have equal shapes, scales and zero points, and a flatbuffer may refer
    to one vector from several places.
    """

    def __init__(self):
        super().__init__(1 << 16)
        self._written = {}

    def CreateNumpyVector(self, x):
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            if x.dtype == np.uint8:
                # flatbuffers for Python ignores force_align (google/flatbuffers#5839),
                # and TensorFlow's converter uses it too.
                self.Prep(_ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def pack(model) -> bytes:
    """Packs a model into a flatbuffer."""
    builder = _Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
