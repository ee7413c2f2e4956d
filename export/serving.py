"""The serving graph: image -> {logits, probabilities, label}.

x = (image / 255 - mean) / std                 inside the graph, for raw pixels
logits = net(x),  probabilities = softmax(logits),  label = argmax(logits)
"""

import dataclasses
import hashlib
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2

from export import staging
from trainers.data.batches import normalize


@dataclasses.dataclass(frozen=True)
class InputKind:
    """An input `image` of a serving graph.

    Attributes:
        dtype: Of the tensor.
        raw: Whether it holds pixels 0..255, which the graph normalises.
        text: The same for people.
    """

    dtype: tf.DType
    raw: bool
    text: str


INPUTS: dict[str, InputKind] = {
    "normalized": InputKind(tf.float32, False, "float32, (pixel/255 - mean)/std"),
    "float": InputKind(tf.float32, True, "float32 pixels, 0..255"),
    "uint8": InputKind(tf.uint8, True, "uint8 pixels, 0..255"),
}


def image_spec(kind: str, data: dict) -> tf.TensorSpec:
    """The input of a serving graph; the batch size is free.

    Args:
        kind: A key of `INPUTS`.
        data: With image_shape, as the trainer saved it.
    """
    return tf.TensorSpec((None, *data["image_shape"]), INPUTS[kind].dtype, "image")


def serving_function(net, data: dict, kind: str = "normalized"):
    """A function of an `image_spec` tensor.

    Args:
        net: Takes normalised images, gives logits; called with training=False.
        data: With mean and std, as the trainer saved it.
        kind: A key of `INPUTS`. Default `"normalized"`.

    Returns:
        Function to a dict of logits and probabilities, float32 (B, classes), and label,
        int32 (B,).
    """

    def serve(image):
        if INPUTS[kind].raw:
            image = normalize(image, data["mean"], data["std"])
        logits = net(image, training=False)
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "label": tf.argmax(logits, axis=-1, output_type=tf.int32),
        }

    return serve


def feeder(data: dict, kind: str = "normalized"):
    """Returns a function from uint8 pixels to the input of a serving graph."""

    def feed(pixels):
        if not INPUTS[kind].raw:
            return normalize(pixels, data["mean"], data["std"]).numpy()
        return np.asarray(pixels, INPUTS[kind].dtype.as_numpy_dtype)

    return feed


def keras_logits(net, data: dict):
    """Returns the reference of an export: uint8 pixels to logits, run by Keras."""
    feed = feeder(data)
    return lambda pixels: np.asarray(net(feed(pixels), training=False))


def write_archive(directory, graphs: dict, data: dict, kind: str = "normalized"):
    """Writes serving graphs as a SavedModel, one signature each.

    The same net in a new process gives the same bytes. Within one process TensorFlow
    keeps counting functions, so their names in saved_model.pb and its checksum differ.

    Uses `tf.saved_model`, as Keras' ExportArchive orders variables by their address in
    memory, and the TensorFlow variables inside those of Keras, as the latter come out
    of the TFLite converter as NaN.

    Args:
        directory: Made.
        graphs: Layers from normalised images to logits, by signature. Variables that
            they share are written once.
        data, kind: See `serving_function`.
    """
    module = tf.Module()
    variables = [v.value for graph in graphs.values() for v in graph.variables]
    module.weights = list({id(v): v for v in variables}.values())
    signatures = {
        name: tf.function(
            serving_function(graph, data, kind),
            input_signature=[image_spec(kind, data)],
            autograph=False,
        ).get_concrete_function()
        for name, graph in graphs.items()
    }
    # TensorFlow has errors of its own for a full disk.
    with staging.writing(tf.errors.OpError):
        tf.saved_model.save(module, str(directory), signatures)
        _name_by_content(pathlib.Path(directory, "fingerprint.pb"))


def _name_by_content(path: pathlib.Path) -> None:
    """Replaces the random UUID of a SavedModel by a hash of its content."""
    found = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    found.ClearField("uuid")
    digest = hashlib.sha256(found.SerializeToString(deterministic=True)).digest()
    found.uuid = str(int.from_bytes(digest[:16], "big"))
    path.write_bytes(found.SerializeToString(deterministic=True))
