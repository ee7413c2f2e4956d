"""Affine maps of channels in an ONNX graph, as norms.

A norm behind a ReLU leaves y = s x + d, which no convolution takes where zeros are
padded (`affine`). Written as Mul and Add it costs ONNX Runtime more than its
arithmetic: these have no form in the blocked layout of its convolutions on x86, NCHWc,
so that the image is reordered before and after. BatchNormalization has one, a depthwise
convolution, which also takes a sum behind it.
"""

import dataclasses

import numpy as np
import onnx

# What reads the map as a norm: a convolution, and what stays in the blocked layout. For
# others, as a gelu, the nodes stay as they are: runtimes know them by their pattern.
_READERS = {"Conv", "Add", "Relu"}


@dataclasses.dataclass(frozen=True)
class _Map:
    """scale * value + shift, both float64 (channels,)."""

    value: str
    scale: np.ndarray
    shift: np.ndarray


def with_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes affine maps of images as norms, one for each run of Mul and Add.

    Nodes that nothing reads any more are left in the graph.

    Args:
        model: Changed. Its nodes are in topological order, constants are initializers.
    """
    graph = model.graph
    writer = _Writer(graph)
    channels, maps = {}, {}
    for node in list(graph.node):
        found = _map_of(node, writer.constants, channels, maps)
        if found is not None:
            maps[node.output[0]] = found
            channels[node.output[0]] = channels[found.value]
        elif node.op_type in _READERS:
            known = [channels[name] for name in node.input if name in channels]
            if node.op_type == "Conv":
                kernel = writer.constants.get(node.input[1])
                known = [] if kernel is None else [len(kernel)]
            channels |= dict.fromkeys(node.output, *known[:1]) if known else {}
            _read(node, maps, writer)
        writer.nodes.append(node)
    del graph.node[:]
    graph.node.extend(writer.nodes)
    return model


def _map_of(node, constants, channels, maps) -> _Map | None:
    """What a node makes of an image, if it is an affine map of its channels."""
    if node.op_type not in ("Mul", "Add"):
        return None
    images = [name for name in node.input if name in channels]
    values = [constants[name] for name in node.input if name in constants]
    if len(images) != 1 or len(values) != 1:
        return None
    (name,), (value,) = images, values
    count = channels[name]
    if value.shape not in ((), (1,) * 4, (1, count, 1, 1)):
        return None
    value = np.broadcast_to(value.astype("float64").ravel(), (count,))
    before = maps.get(name) or _Map(name, np.ones(count), np.zeros(count))
    if node.op_type == "Add":
        return dataclasses.replace(before, shift=before.shift + value)
    return _Map(before.value, before.scale * value, before.shift * value)


def _read(node, maps, writer):
    """Lets a node read norms instead of maps."""
    found = {i: maps[name] for i, name in enumerate(node.input) if name in maps}
    if len(found) == 2:
        # p + d and s q + e: the sum is p and s q + (d + e), with one norm.
        plain = [i for i, one in found.items() if np.all(one.scale == 1)]
        if plain:
            one, other = found.pop(plain[0]), found.popitem()
            node.input[plain[0]] = one.value
            shift = other[1].shift + one.shift
            found = {other[0]: dataclasses.replace(other[1], shift=shift)}
    for i, one in found.items():
        # A sum is a part of the norm in front of it, if nothing else reads that.
        node.input[i] = writer.norm(one, shared=node.op_type != "Add")


class _Writer:
    """Collects the nodes of a graph, with further norms and constants."""

    def __init__(self, graph):
        self.nodes = []
        self.constants = {
            weight.name: onnx.numpy_helper.to_array(weight)
            for weight in graph.initializer
        }
        self._weights = graph.initializer
        self._names = {}

    def norm(self, one: _Map, shared: bool) -> str:
        """The value of a map; equal ones may share a node."""
        weights = [
            self._constant(value.astype("float32"))
            for value in (one.scale, one.shift, 0 * one.shift, 1 + 0 * one.shift)
        ]
        key = (one.value, *weights)
        if shared and key in self._names:
            return self._names[key]
        name = f"{one.value}/norm{len(self.nodes)}"
        self.nodes.append(
            onnx.helper.make_node(
                "BatchNormalization", [one.value, *weights], [name], epsilon=0.0
            )
        )
        if shared:
            self._names[key] = name
        return name

    def _constant(self, value) -> str:
        key = value.tobytes()
        if key not in self._names:
            self._names[key] = f"norm/{len(self._names)}"
            self._weights.append(onnx.numpy_helper.from_array(value, self._names[key]))
        return self._names[key]
