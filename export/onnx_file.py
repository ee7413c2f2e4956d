"""Finishes an ONNX graph after its conversion; reads its metadata and nodes."""

import json

import numpy as np
import onnx


def in_fixed_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Orders and names the nodes of a model by its structure alone.

    TensorFlow numbers nodes throughout a process and ONNX Runtime sorts them
    differently each time; without this, the same net would give other bytes.
    """
    graph = model.graph
    nodes = _from_the_outputs(graph)
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = {name: name for name in ("", *kept)}
    stored = {weight.name for weight in graph.initializer}
    for i, node in enumerate(nodes):
        for name in (*node.input, *node.output):
            # Two letters, as ONNX Runtime's quantiser may call a copy of the shared
            # bias t1 "t12", even if a tensor has that name.
            letter = "w" if name in stored else "t"
            names.setdefault(name, f"{letter}{len(names)}")
        node.name, node.doc_string = f"n{i}", ""
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.attribute.sort(key=lambda attribute: attribute.name)
    weights = [weight for weight in graph.initializer if weight.name in names]
    for weight in weights:
        weight.name = names[weight.name]
    weights.sort(key=lambda weight: int(weight.name[1:]))
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    graph.name, graph.doc_string, model.doc_string = "cnet_tf", "", ""
    return model


def without_erfc(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes erfc(x), which Keras' exact gelu has and ONNX has not, as 1 - erf(x)."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Erfc"]:
        inner = f"{node.output[0]}/erf"
        one = onnx.numpy_helper.from_array(np.ones((), "float32"), f"{inner}/one")
        graph.initializer.append(one)
        graph.node.append(
            onnx.helper.make_node("Sub", [one.name, inner], [node.output[0]])
        )
        node.op_type, node.domain, node.output[0] = "Erf", "", inner
    return model


def _from_the_outputs(graph) -> list:
    """The nodes that the outputs depend on, in topological order."""
    makers = {name: node for node in graph.node for name in node.output}
    done, seen = [], set()
    stack = [(output.name, False) for output in reversed(graph.output)]
    while stack:
        name, expanded = stack.pop()
        node = makers.get(name)
        if node is None or (not expanded and id(node) in seen):
            continue
        if expanded:
            done.append(node)
        else:
            seen.add(id(node))
            stack.append((name, True))
            stack.extend((source, False) for source in reversed(node.input))
    return done


def read_metadata(path) -> dict:
    """Reads the description that `build` put into a file."""
    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def nodes(path) -> list[str]:
    """Lists the types of the nodes of a file, in order."""
    return [node.op_type for node in onnx.load(str(path)).graph.node]
