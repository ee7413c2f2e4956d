"""The serving graph: image -> {logits, probabilities, label}.

x = (image / 255 - mean) / std                 inside the graph, for raw pixels
logits = net(x),  probabilities = softmax(logits),  label = argmax(logits)
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from trainers.batches import normalize

SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class InputKind:
    """What a serving graph takes under the name `image`.

    Attributes:
        dtype: Of the tensor.
        raw: Pixels 0..255, which the graph normalises.
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
    """A function of uint8 pixels to what a serving graph of that kind takes."""

    def feed(pixels):
        if not INPUTS[kind].raw:
            return normalize(pixels, data["mean"], data["std"]).numpy()
        return np.asarray(pixels, INPUTS[kind].dtype.as_numpy_dtype)

    return feed


def keras_logits(net, data: dict):
    """What an export has to agree with: a function of uint8 pixels, run by Keras."""
    feed = feeder(data)
    return lambda pixels: np.asarray(net(feed(pixels), training=False))


def write_archive(directory, graphs: dict, data: dict, kind: str = "normalized"):
    """Writes serving graphs as a SavedModel, one signature each.

    By Keras' ExportArchive: Keras variables saved through a `tf.Module` come out of
    the TFLite converter as NaN. No endpoint is named `serve`, as that makes the
    converter drop any other. Layers are not `track`ed: the archive finds the variables
    of its functions by itself, and would write those of tracked layers once more.

    Args:
        directory: Made.
        graphs: Layers from normalised images to logits, by signature. Variables that
            they share are written once.
        data, kind: See `serving_function`.
    """
    archive = keras.export.ExportArchive()
    for signature, graph in graphs.items():
        archive.add_endpoint(
            signature,
            serving_function(graph, data, kind),
            input_signature=[image_spec(kind, data)],
        )
    archive.write_out(str(directory), verbose=False)
