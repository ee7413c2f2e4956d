"""Exports a trained net as an ONNX graph, opset 18.

    python export/onnx_graph.py --steps=2
    python export/onnx_graph.py --scheme=midpoint --precision=int8

writes <output>/<scheme>-<steps>[-int8].onnx, replacing the one that is there, and its
model card beside it. The graph takes `image` (batch, height, width, channels), any
batch, and gives `logits`, `probabilities` and `label`. Labels and metadata are in the
file's metadata_props.

What was written is checked by onnx and run by ONNX Runtime. In float32 it has to agree
with Keras within 1e-4 in all logits and within 0.02 points of accuracy; in int8 it may
lose half a point. Exit codes: 0 written, 1 no agreement, 2 bad input; after 1 and 2
nothing is left.
"""

import json
import logging
import os
import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    # Read when TensorFlow is imported: warnings and notes of its own are not shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

from export import calibration, options, parity, serving, single_file
from export.description import describe
from export.onnx_int8 import quantize

OPSET = 18

GATES: dict[str, parity.Gate] = {
    "float32": parity.Gate.exact(1e-4),
    "int8": parity.Gate.reduced(),
}

OPTIONS = (
    *options.SHARED,
    (
        "precision",
        options.OneOf(GATES),
        "float32",
        "float32, or int8: convolutions, their weights per channel, as QDQ nodes.",
    ),
    calibration.OPTION,
    (
        "threads",
        options.AtLeast(1),
        1,
        "Threads of ONNX Runtime in the comparison, 1 or more. No part of the file.",
    ),
)


def build(source, kind: str, precision: str, samples, folder) -> pathlib.Path:
    """Writes the ONNX graph of `serving_default` to a folder; returns its path.

    Args:
        source: A `Trained`.
        kind: A key of `serving.INPUTS`.
        precision: A key of `GATES`.
        samples: uint8 calibration images for int8, else None.
        folder: For the file.
    """
    model = convert(source.graphs[serving.SIGNATURE], source.data, kind)
    path = pathlib.Path(folder, "model.onnx")
    if precision == "int8":
        feed = serving.feeder(source.data, kind)
        model = quantize(model, [feed(image[None]) for image in samples], folder)
    else:
        samples = None
    model = in_fixed_order(model)
    description = describe(source, kind, precision, samples)
    properties = {key: json.dumps(value) for key, value in description.items()}
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def convert(graph, data: dict, kind: str) -> onnx.ModelProto:
    """The ONNX graph of a layer from images to logits."""
    serve = tf.function(
        serving.serving_function(graph, data, kind),
        input_signature=[serving.image_spec(kind, data)],
    )
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(
        serve, input_signature=serve.input_signature, opset=OPSET
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def in_fixed_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its nodes in an order, and with names, that its structure gives.

    TensorFlow numbers nodes through a process and ONNX Runtime sorts them differently
    each time, so that the same net would give other bytes.
    """
    graph = model.graph
    nodes = _from_the_outputs(graph)
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = {name: name for name in ("", *kept)}
    stored = {weight.name for weight in graph.initializer}
    for i, node in enumerate(nodes):
        for name in (*node.input, *node.output):
            # Apart, as ONNX Runtime's quantiser calls the copy of a bias t1 that
            # convolutions share t12, whatever tensor may have that name.
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


def _from_the_outputs(graph) -> list:
    """The nodes that the outputs need, each after those that it needs itself."""
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
    """The description that `build` put into a file."""
    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def nodes(path) -> list[str]:
    """The types of the nodes of a file, in order."""
    return [node.op_type for node in onnx.load(str(path)).graph.node]


def reload(path, threads: int = 1) -> dict:
    """The one signature of a file, as a function of an array."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path), settings, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def call(image):
        return dict(zip(names, session.run(names, {"image": image}), strict=True))

    return {serving.SIGNATURE: call}


FORM = single_file.Form(
    "onnx",
    build,
    reload,
    gate=lambda precision: GATES[precision],
    metadata=read_metadata,
    image_dtype=lambda path, kind: serving.INPUTS[kind].dtype.name,
)


def main(values) -> pathlib.Path:
    """Exports as the flags say. Returns the path of the file."""
    return single_file.export(values, FORM)


if __name__ == "__main__":
    options.run(main, OPTIONS)
