"""LiteRT's standard metadata, which MediaPipe Tasks and tflite-support read.

It describes the tensors of graph 0: an image and how it is normalised, scores and the
file of their labels. The Python package for the schema (metadata_schema.fbs, version 1)
is years old and needs others, so the fields that are used here are written by their
numbers.

https://ai.google.dev/edge/litert/models/metadata
"""

import flatbuffers
import numpy as np
from flatbuffers import number_types

from export.serving import INPUTS

ENTRY = "TFLITE_METADATA"
LABELS = "labels.txt"

# Field numbers by table; the type and the value of a union have one each.
_MODEL = {"name": 0, "description": 1, "subgraphs": 3, "parser": 7}
_SUBGRAPH = {"inputs": 2, "outputs": 3}
_TENSOR = {"name": 0, "description": 1, "content": 3, "units": 4, "files": 6}
_CONTENT = {"kind": 0, "properties": 1}
_IMAGE = {"color_space": 0}
_UNIT = {"kind": 0, "options": 1}
_NORMALIZATION = {"mean": 0, "std": 1}
_FILE = {"name": 0, "description": 1, "type": 2}

# Members of the schema's unions and enumerations.
_FEATURES, _IMAGES = np.uint8(1), np.uint8(2)
_NORMALIZES = np.uint8(1)
_COLORS = {1: np.int8(2), 3: np.int8(1)}
# One label per score of the last axis, or one per value.
_LABEL_FILES = {"probabilities": 2, "logits": 2, "label": 3}

_TEXTS = {
    "logits": "Scores of the classes before the softmax.",
    "probabilities": "Probabilities of the classes.",
    "label": "Number of the most probable class.",
}


def pack(description: dict) -> bytes:
    """Returns the metadata of an artefact.

    Args:
        description: From `describe`.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, _model(description)), file_identifier=b"M001")
    return bytes(builder.Output())


def _model(description):
    graph = {
        _SUBGRAPH["inputs"]: [_image(description)],
        _SUBGRAPH["outputs"]: [_output(name) for name in description["outputs"]],
    }
    return {
        _MODEL["name"]: description["architecture"],
        _MODEL["description"]: "Classifies images.",
        _MODEL["subgraphs"]: [graph],
        _MODEL["parser"]: "1.0.0",
    }


def _image(description):
    height, width, channels = description["image_shape"]
    return {
        _TENSOR["name"]: "image",
        _TENSOR["description"]: (
            f"{height} x {width} pixels, {channels} channels: "
            f"{description['input_text']}."
        ),
        _TENSOR["content"]: {
            _CONTENT["kind"]: _IMAGES,
            _CONTENT["properties"]: {
                _IMAGE["color_space"]: _COLORS.get(channels, np.int8(0))
            },
        },
        _TENSOR["units"]: [
            {_UNIT["kind"]: _NORMALIZES, _UNIT["options"]: _normalization(description)}
        ],
    }


def _normalization(description):
    """Returns mean and std: the graph takes (pixel - mean) / std, of pixels 0..255."""
    if INPUTS[description["input"]].raw:
        mean, std = [0.0], [1.0]
    else:
        mean, std = (
            [255 * value for value in description["normalization"][key]]
            for key in ("mean", "std")
        )
    return {
        _NORMALIZATION["mean"]: np.array(mean, "float32"),
        _NORMALIZATION["std"]: np.array(std, "float32"),
    }


def _output(name):
    return {
        _TENSOR["name"]: name,
        _TENSOR["description"]: _TEXTS[name],
        _TENSOR["content"]: {_CONTENT["kind"]: _FEATURES, _CONTENT["properties"]: {}},
        _TENSOR["files"]: [
            {
                _FILE["name"]: LABELS,
                _FILE["description"]: "Labels of the classes, one per line.",
                _FILE["type"]: np.int8(_LABEL_FILES[name]),
            }
        ],
    }


def _write(builder, table: dict) -> int:
    """Writes a table, given as {field number: value}, and returns its place."""
    # Everything that a table refers to is written before it.
    places = {slot: _place(builder, value) for slot, value in table.items()}
    builder.StartObject(1 + max(table, default=-1))
    for slot, value in table.items():
        if places[slot] is None:
            flags = getattr(number_types, f"{type(value).__name__.title()}Flags")
            builder.PrependSlot(flags, slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, places[slot], 0)
    return builder.EndObject()


def _place(builder, value) -> int | None:
    """Writes a text, array, table or list of tables and returns its place.

    Returns None for a number, which its table stores.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, dict):
        return _write(builder, value)
    if isinstance(value, list):
        places = [_write(builder, table) for table in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    return None
