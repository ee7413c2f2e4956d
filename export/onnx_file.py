"""Finishes a converted ONNX graph; reads its metadata and nodes."""

import json

import numpy as np
import onnx


def in_fixed_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Orders and names the nodes of a model by its structure alone.

    TensorFlow numbers nodes throughout a process and ONNX Runtime sorts them
    differently each time; without this, the bytes of the same net would vary.
    """
    graph = model.graph
    nodes = _from_the_outputs(graph)
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = {name: name for name in ("", *kept)}
    stored = {weight.name for weight in graph.initializer}
    for i, node in enumerate(nodes):
        for name in (*node.input, *node.output):
            # Two letters, because ONNX Runtime's quantiser may name a copy of the
            # shared bias t1 "t12", even if a tensor already has that name.
            letter = "w" if name in stored else "t"
            names.setdefault(name, f"{letter}{len(names)}")
        node.name, node.doc_string = f"n{i}", ""
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        _rename_inside(node, names)
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
    """Writes erfc(x), which Keras' exact gelu uses and ONNX lacks, as 1 - erf(x)."""
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
    """Returns the nodes that the outputs depend on, in topological order."""
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
            sources = [*node.input, *_read_inside(node)]
            stack.extend((source, False) for source in reversed(sources))
    return done


def _bodies(node) -> list:
    """Returns the graphs within a node: of a loop or of branches."""
    single = [a.g for a in node.attribute if a.HasField("g")]
    return [*single, *(graph for a in node.attribute for graph in a.graphs)]


def _read_inside(node) -> list[str]:
    """Lists the outer names that the graphs within a node read, in order."""
    found = {}
    for body in _bodies(node):
        made = {value.name for value in (*body.input, *body.initializer)}
        made |= {name for inner in body.node for name in inner.output}
        read = [
            *(name for inner in body.node for name in inner.input),
            *(name for inner in body.node for name in _read_inside(inner)),
            *(value.name for value in body.output),
        ]
        found |= dict.fromkeys(name for name in read if name not in made)
    return list(found)


def _rename_inside(node, names, depth=1):
    """Names everything in the graphs within a node, also by structure alone.

    Args:
        node: A node of a graph.
        names: New names by old ones, for all outer names that the graphs may read.
        depth: Nesting depth of the graphs; names differ between depths, because a graph
            sees the outer ones.
    """
    for body in _bodies(node):
        letters, inside = "b" * depth, dict(names)
        nodes = _from_the_outputs(body)
        made = {value.name for value in (*body.input, *body.initializer)}
        made |= {name for inner in nodes for name in inner.output}
        own = [value.name for value in body.input]
        own += [n for inner in nodes for n in (*inner.input, *inner.output)]
        own += [value.name for value in body.output]
        for name in dict.fromkeys(own):
            if name and name in made:
                inside[name] = f"{letters}{len(inside)}"
        weights = [weight for weight in body.initializer if weight.name in own]
        for value in (*body.input, *weights, *body.output):
            value.name = inside[value.name]
        for value in (*body.input, *body.output):
            for size in value.type.tensor_type.shape.dim:
                if size.dim_param:  # A free size, numbered by the converter.
                    size.ClearField("dim_param")
        for i, inner in enumerate(nodes):
            inner.name, inner.doc_string = f"{letters}n{i}", ""
            inner.input[:] = [inside[name] for name in inner.input]
            inner.output[:] = [inside[name] for name in inner.output]
            _rename_inside(inner, inside, depth + 1)
            inner.attribute.sort(key=lambda attribute: attribute.name)
        weights.sort(key=lambda weight: int(weight.name[depth:]))
        body.name, body.doc_string = letters, ""
        del body.node[:], body.initializer[:], body.value_info[:]
        body.node.extend(nodes)
        body.initializer.extend(weights)


def read_metadata(path) -> dict:
    """Reads the description that `build` put into a file."""
    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def nodes(path) -> list[str]:
    """Lists the types of the nodes of a file, in order."""
    return [node.op_type for node in onnx.load(str(path)).graph.node]
