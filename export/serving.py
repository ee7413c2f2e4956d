"""The serving graph: image -> {logits, probabilities, label}, or some of them.

pixels = decode(image)                         inside the graph, for encoded images
x = (pixels / 255 - mean) / std                inside the graph, for raw pixels
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
    """A kind of input `image` of a serving graph.

    Attributes:
        dtype: Type of the tensor; strings are files, which the graph decodes.
        raw: Whether it holds pixels 0..255, which the graph normalises.
        text: Description for people.
    """

    dtype: tf.DType
    raw: bool
    text: str

    @property
    def encoded(self) -> bool:
        """Whether it holds whole files instead of numbers."""
        return self.dtype == tf.string


INPUTS: dict[str, InputKind] = {
    "normalized": InputKind(tf.float32, False, "float32, (pixel/255 - mean)/std"),
    "float": InputKind(tf.float32, True, "float32 pixels, 0..255"),
    "uint8": InputKind(tf.uint8, True, "uint8 pixels, 0..255"),
    "encoded": InputKind(
        tf.string, True, "the bytes of a JPEG or PNG file of the net's image size"
    ),
}

# Numeric inputs, which every runtime takes.
ARRAYS = tuple(name for name, kind in INPUTS.items() if not kind.encoded)

# Channel counts that an encoded image can have.
ENCODED_CHANNELS = (1, 3, 4)

# Outputs that a serving graph can return, by name, as functions of the logits.
OUTPUTS = {
    "logits": tf.identity,
    "probabilities": tf.nn.softmax,
    "label": lambda logits: tf.argmax(logits, axis=-1, output_type=tf.int32),
}


def image_spec(kind: str, data: dict, batch: int | None = None) -> tf.TensorSpec:
    """Returns the specification of the input of a serving graph.

    Args:
        kind: A key of `INPUTS`.
        data: Has image_shape, as the trainer saved it.
        batch: Fixed batch size. Default: any.
    """
    shape = () if INPUTS[kind].encoded else data["image_shape"]
    return tf.TensorSpec((batch, *shape), INPUTS[kind].dtype, "image")


def serving_function(
    net, data: dict, kind: str = "normalized", outputs: tuple[str, ...] = tuple(OUTPUTS)
):
    """Returns a function of an `image_spec` tensor.

    Args:
        net: Maps normalised images to logits; called with training=False.
        data: Has mean, std and image_shape, as the trainer saved it.
        kind: A key of `INPUTS`. Default `"normalized"`.
        outputs: Keys of `OUTPUTS`. Default: all.

    Returns:
        A function that returns a dict of the requested outputs: logits and
        probabilities, float32 (B, classes), and label, int32 (B,).
    """

    def serve(image):
        if INPUTS[kind].encoded:
            image = _decoded(image, data["image_shape"])
        if INPUTS[kind].raw:
            image = normalize(image, data["mean"], data["std"])
        logits = net(image, training=False)
        return {name: OUTPUTS[name](logits) for name in outputs}

    return serve


# Of ITU-R BT.601: grey of red, green and blue, times 2^16, as Pillow computes it.
_LUMA = (19595, 38470, 7471)
_OPAQUE = np.uint8(255)
# Where a PNG has its bits per sample.
_PNG_BITS = 24


def _decoded(files, shape):
    """Decodes the bytes of JPEG or PNG files (B,) to pixels, uint8 (B, *shape).

    They are the pixels that Pillow reads in training. Transparent ones are laid on
    white. Refuses images of another size: how a user would crop them is unknown here.
    """
    height, width, channels = shape

    def jpeg(content):
        colours = tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE")
        return tf.concat([colours, tf.fill(tf.shape(colours[..., :1]), _OPAQUE)], -1)

    def png(content):
        pixels = tf.io.decode_png(content, 4)
        # Samples of 1, 2 or 4 bits become 8, but not the alpha that is added to them.
        with tf.control_dependencies([pixels]):  # Of no PNG, they fail in clear words.
            bits = tf.strings.substr(content, _PNG_BITS, 1)
        bits = tf.io.decode_raw(bits, tf.uint8)
        added = tf.bitwise.left_shift(1, tf.cast(bits, tf.int32)) - 1
        colours, alpha = pixels[..., :3], pixels[..., 3:]
        opaque = tf.reduce_all(tf.cast(alpha, tf.int32) == added)
        return tf.concat([colours, tf.where(opaque, _OPAQUE, alpha)], -1)

    def seen(pixels):
        if channels == 4:
            return pixels
        pixels = tf.cast(pixels, tf.float32)
        colours, alpha = pixels[..., :3], pixels[..., 3:] / 255
        found = tf.cast(tf.round(alpha * colours + 255 * (1 - alpha)), tf.int32)
        if channels == 1:
            found = tf.reduce_sum(found * _LUMA, axis=-1, keepdims=True)
            found = tf.bitwise.right_shift(found + (1 << 15), 16)
        return tf.cast(found, tf.uint8)

    def decode(content):
        pixels = tf.cond(
            tf.io.is_jpeg(content), lambda: jpeg(content), lambda: png(content)
        )
        pixels = seen(pixels)
        size = tf.shape(pixels)[:2]
        message = f"image: expected {height} x {width} pixels (height x width). "
        fits = tf.debugging.Assert(
            tf.reduce_all(size == [height, width]),
            [f"{message}Received", size, "resize it first."],
        )
        with tf.control_dependencies([fits]):
            checked = tf.identity(pixels)
        # Not `ensure_shape`, which may fail before the assertion, with its own message.
        checked.set_shape(shape)
        return checked

    return tf.map_fn(decode, files, fn_output_signature=tf.uint8)


def feeder(data: dict, kind: str = "normalized"):
    """Returns a function from uint8 pixels to the input of a serving graph."""

    def feed(pixels):
        if not INPUTS[kind].raw:
            return normalize(pixels, data["mean"], data["std"]).numpy()
        if INPUTS[kind].encoded:  # Lossless. A PNG never ends in a zero byte.
            return np.array([tf.io.encode_png(image).numpy() for image in pixels])
        return np.asarray(pixels, INPUTS[kind].dtype.as_numpy_dtype)

    return feed


def keras_logits(net, data: dict):
    """Returns the reference of an export: uint8 pixels to logits, run by Keras."""
    feed = feeder(data)
    return lambda pixels: np.asarray(net(feed(pixels), training=False))


def keras_graph(net, data: dict):
    """Returns `keras_logits` as one graph, 2.5 times as fast; traced on first call."""
    feed = feeder(data)
    spec = tf.TensorSpec((None, *data["image_shape"]), tf.float32)
    run = tf.function(
        lambda images: net(images, training=False), [spec], autograph=False
    )
    return lambda pixels: run(feed(pixels)).numpy()


def write_archive(
    directory,
    graphs: dict,
    data: dict,
    kind: str = "normalized",
    outputs: tuple[str, ...] = tuple(OUTPUTS),
    batch: int | None = None,
):
    """Writes serving graphs as a SavedModel, one signature each.

    The same net in a new process gives the same bytes. Within one process TensorFlow
    keeps counting functions, so their names in saved_model.pb and its checksum differ.

    Uses `tf.saved_model`, because Keras' ExportArchive orders variables by memory
    address. Uses the TensorFlow variables inside those of Keras, because the latter
    come out of the TFLite converter as NaN.

    Args:
        directory: Folder to create.
        graphs: Layers from normalised images to logits, by signature. Shared variables
            are written once.
        data, kind, outputs: See `serving_function`.
        batch: See `image_spec`.
    """
    module = tf.Module()
    variables = [v.value for graph in graphs.values() for v in graph.variables]
    module.weights = list({id(v): v for v in variables}.values())
    signatures = {
        name: tf.function(
            serving_function(graph, data, kind, outputs),
            input_signature=[image_spec(kind, data, batch)],
            autograph=False,
        ).get_concrete_function()
        for name, graph in graphs.items()
    }
    # TensorFlow raises its own errors for a full disk.
    with staging.writing(tf.errors.OpError):
        tf.saved_model.save(module, str(directory), signatures)
        _name_by_content(pathlib.Path(directory, "fingerprint.pb"))


def _name_by_content(path: pathlib.Path) -> None:
    """Replaces the random UUID of a SavedModel with a hash of its content."""
    found = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    found.ClearField("uuid")
    digest = hashlib.sha256(found.SerializeToString(deterministic=True)).digest()
    found.uuid = str(int.from_bytes(digest[:16], "big"))
    path.write_bytes(found.SerializeToString(deterministic=True))
