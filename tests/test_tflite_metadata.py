"""Standard metadata, read by the field numbers of the schema.

By hand they were read by tflite-support 0.4.4 and MediaPipe too, see BUILD_NOTES.md.
"""

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import encode
from flatbuffers.number_types import Float32Flags, Int8Flags
from flatbuffers.packer import uoffset
from flatbuffers.table import Table

from export import tflite, tflite_metadata

DESCRIPTION = {
    "architecture": "net",
    "image_shape": [4, 6, 3],
    "input": "normalized",
    "input_text": "floats",
    "normalization": {"mean": [0.1, 0.2, 0.4], "std": [0.5, 0.25, 1.0]},
    "outputs": ["probabilities"],
}


class Reader:
    """A table of a flatbuffer; `field` by the number in the schema."""

    def __init__(self, content, place):
        self.table = Table(content, place)

    @classmethod
    def root(cls, content):
        return cls(content, encode.Get(uoffset, content, 0))

    def _place(self, field):
        offset = self.table.Offset(4 + 2 * field)
        return offset and offset + self.table.Pos

    def text(self, field):
        return self.table.String(self._place(field)).decode()

    def byte(self, field):
        return self.table.Get(Int8Flags, self._place(field))

    def member(self, field):
        return Reader(self.table.Bytes, self.table.Indirect(self._place(field)))

    def list(self, field):
        offset = self.table.Offset(4 + 2 * field)
        if not offset:
            return []
        start = self.table.Vector(offset)
        places = (start + 4 * i for i in range(self.table.VectorLen(offset)))
        return [Reader(self.table.Bytes, self.table.Indirect(p)) for p in places]

    def floats(self, field):
        offset = self.table.Offset(4 + 2 * field)
        return self.table.GetVectorAsNumpy(Float32Flags, offset)


def read(content) -> tuple[Reader, Reader]:
    """The one graph of metadata, and its image."""
    assert content[4:8] == b"M001"
    (graph,) = Reader.root(content).list(3)
    (image,) = graph.list(2)
    return graph, image


def normalization(image) -> list:
    (unit,) = image.list(4)
    assert unit.byte(0) == 1
    return [unit.member(1).floats(field) for field in (0, 1)]


def test_the_image_and_how_pixels_are_normalised():
    _, image = read(tflite_metadata.pack(DESCRIPTION))
    assert image.text(0) == "image"
    assert "4 x 6 pixels" in image.text(1)
    content = image.member(3)
    assert content.byte(0) == 2  # ImageProperties
    assert content.member(1).byte(0) == 1  # RGB
    mean, std = normalization(image)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3))
    np.testing.assert_allclose(
        (pixels - mean) / std,
        (pixels / 255 - [0.1, 0.2, 0.4]) / [0.5, 0.25, 1.0],
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_raw_pixels_are_taken_as_they_are(kind):
    _, image = read(tflite_metadata.pack({**DESCRIPTION, "input": kind}))
    assert [value.tolist() for value in normalization(image)] == [[0], [1]]


@pytest.mark.parametrize("channels, color", [(1, 2), (3, 1)])
def test_colours(channels, color):
    description = {**DESCRIPTION, "image_shape": [4, 6, channels]}
    _, image = read(tflite_metadata.pack(description))
    assert image.member(3).member(1).byte(0) == color


def test_every_output_names_the_file_of_its_labels():
    names = ["label", "probabilities", "logits"]
    graph, _ = read(tflite_metadata.pack({**DESCRIPTION, "outputs": names}))
    outputs = graph.list(3)
    assert [output.text(0) for output in outputs] == names
    files = [file for output in outputs for file in output.list(6)]
    assert {file.text(0) for file in files} == {"labels.txt"}
    # Of values, of an axis, of an axis.
    assert [file.byte(2) for file in files] == [3, 2, 2]


@pytest.mark.slow
def test_an_export_carries_them(export_flags):
    path = tflite.main(export_flags(tflite.Options)("--outputs=logits,label"))
    model = flatbuffer_utils.read_model(str(path))
    entries = {entry.name.decode(): entry.buffer for entry in model.metadata}
    content = model.buffers[entries["TFLITE_METADATA"]].data.tobytes()
    graph, image = read(content)
    # In the order of graph 0, by which readers tell tensors apart.
    first = model.subgraphs[0]
    names = [first.tensors[i].name.decode() for i in first.outputs]
    assert [output.text(0) for output in graph.list(3)] == names == ["logits", "label"]
    assert image.text(0) == first.tensors[first.inputs[0]].name.decode()


def test_the_reader_can_fail():
    """It reads numbers of fields, so a field that moves is another field."""
    content = tflite_metadata.pack(DESCRIPTION)
    (graph,) = Reader.root(content).list(3)
    assert graph.list(4) == [] and len(graph.list(2)) == 1
