"""Rewrites affine maps of channels in an ONNX graph as norms.

A norm after a ReLU leaves y = s x + d, which no convolution absorbs if it pads with
zeros (`affine`). Written as Mul and Add it costs ONNX Runtime more than its arithmetic:
these have no kernel in NCHWc, the blocked layout of its convolutions on x86, so images
are reordered before and after. BatchNormalization has one, a depthwise convolution,
which also absorbs a sum after it if nothing else reads the norm.
"""

import collections
import dataclasses

import numpy as np
import onnx

# Nodes that read a map as a norm: those that stay in the blocked layout. For others,
# such as the products in a gelu, the map keeps its own nodes.
_ALONE = {"Conv", "Relu"}
_READERS = {*_ALONE, "Add"}
_MAPS = {"Mul", "Add"}


@dataclasses.dataclass(frozen=True)
class _Map:
    """scale * value + shift, both float64 (channels,)."""

    value: str
    scale: np.ndarray
    shift: np.ndarray

    @property
    def key(self):
        return self.value, self.scale.tobytes(), self.shift.tobytes()

    @property
    def only_shifts(self) -> bool:
        return bool(np.all(self.scale == 1))

    def shifted(self, shift) -> "_Map":
        return dataclasses.replace(self, shift=self.shift + shift)


def with_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites affine maps of images as norms, one for each run of Mul and Add.

    Leaves nodes that nothing reads any more in the graph.

    Args:
        model: Modified in place. Its nodes must be in topological order, and its
            constants initializers.
    """
    writer = _Writer(model.graph)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        writer.add(node)
    return model


class _Writer:
    """Writes the nodes of a graph in order, with norms in between."""

    def __init__(self, graph):
        self._graph = graph
        self._constants = {
            weight.name: onnx.numpy_helper.to_array(weight)
            for weight in graph.initializer
        }
        # By tensor name: the channels of images, and the maps that give them.
        self._channels, self._maps = {}, {}
        # By content.
        self._weights, self._norms = {}, {}
        readers = [(x, self._kind(node)) for node in graph.node for x in node.input]
        self._sums = collections.Counter(x for x, kind in readers if kind == "Add")
        self._alone = {name for name, kind in readers if kind in _ALONE}
        self._others = {name for name, kind in readers if kind not in _READERS}
        self._others |= {output.name for output in graph.output}

    def _kind(self, node) -> str:
        """Returns the type of a reader. A map's node is no sum: it stays for others."""
        constant = any(name in self._constants for name in node.input)
        return "map" if constant and node.op_type in _MAPS else node.op_type

    def add(self, node):
        """Writes a node, which reads norms instead of maps."""
        found = self._map_of(node)
        if found is not None:
            self._maps[node.output[0]] = found
            self._channels[node.output[0]] = len(found.scale)
        elif node.op_type in _READERS:
            count = self._count(node)
            for i, name in enumerate(node.input):
                # A sum reads a norm if one exists anyway or if its inputs do not match.
                if name in self._maps and (name in self._alone or count is None):
                    node.input[i] = self._shared_norm(self._maps[name])
            if count is not None:
                self._channels[node.output[0]] = count
                if node.op_type == "Add":
                    self._sum(node)
        self._graph.node.append(node)

    def _map_of(self, node) -> _Map | None:
        """Returns the map of an image's channels that a node computes, if affine."""
        if node.op_type not in _MAPS:
            return None
        images = [name for name in node.input if name in self._channels]
        values = [self._constants[x] for x in node.input if x in self._constants]
        if len(images) != 1 or len(values) != 1:
            return None
        (name,), (value,) = images, values
        count = self._channels[name]
        if value.shape not in ((), (1, count, 1, 1)):
            return None
        value = np.broadcast_to(value.astype("float64").ravel(), (count,))
        before = self._maps.get(name) or _Map(name, np.ones(count), np.zeros(count))
        if node.op_type == "Add":
            return before.shifted(value)
        return _Map(before.value, before.scale * value, before.shift * value)

    def _count(self, node) -> int | None:
        """Returns the channels of a node's output if that is known to be an image."""
        if node.op_type == "Conv":
            kernel = self._constants.get(node.input[1])
            return len(kernel) if kernel is not None and kernel.ndim == 4 else None
        known = {self._channels.get(name) for name in node.input}
        return known.pop() if len(known) == 1 else None

    def _sum(self, node):
        """Lets a sum read norms that no other sum reads: equal ones would be merged."""
        found = {i: self._maps[x] for i, x in enumerate(node.input) if x in self._maps}
        several = {i for i in found if self._sums[node.input[i]] > 1}
        shifts = [i for i, one in found.items() if one.only_shifts]
        if len(found) == 2 and shifts:
            # (p + d) + (s q + e) = p + (s q + (d + e))
            first = found.pop(shifts[0])
            node.input[shifts[0]] = first.value
            found = {i: one.shifted(first.shift) for i, one in found.items()}
        left = 0.0
        for i, one in found.items():
            if i in several and node.output[0] not in self._alone | self._others:
                # The next sum adds the shift.
                left = left + one.shift
                one = one.shifted(-one.shift)
            node.input[i] = self._norm(one)
        if np.any(left):
            self._maps[node.output[0]] = _Map(node.output[0], 1 + 0 * left, left)

    def _shared_norm(self, one: _Map) -> str:
        if one.key not in self._norms:
            self._norms[one.key] = self._norm(one)
        return self._norms[one.key]

    def _norm(self, one: _Map) -> str:
        """Writes a map as a norm of mean 0 and variance 1."""
        if one.only_shifts and not np.any(one.shift):
            return one.value
        zeros = np.zeros_like(one.shift)
        weights = map(self._weight, (one.scale, one.shift, zeros, zeros + 1))
        name = f"{one.value}/norm{len(self._graph.node)}"
        self._graph.node.append(
            onnx.helper.make_node(
                "BatchNormalization", [one.value, *weights], [name], epsilon=0.0
            )
        )
        return name

    def _weight(self, value) -> str:
        value = value.astype("float32")
        key = value.tobytes()
        if key not in self._weights:
            self._weights[key] = f"norm/{len(self._weights)}"
            self._graph.initializer.append(
                onnx.numpy_helper.from_array(value, self._weights[key])
            )
        return self._weights[key]
