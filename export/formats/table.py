"""All formats by name."""

from export.formats import onnx_graph, saved_model, tflite
from export.formats.record import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT for module in (saved_model, tflite, onnx_graph)
}
