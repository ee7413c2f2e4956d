"""Readers of exported artefacts: from a path to signatures, as array functions.

    outputs = reader(path, threads)[signature](image)    # NumPy arrays by name

Readers use all cores unless told otherwise; the number of threads does not change a
single bit of the outputs. A graph with a fixed batch size runs as often as needed, and
copies fill up the last batch.

A reader imports its runtime when called, and this file imports only NumPy, so that a
process that measures an artefact holds nothing but the runtime of its format.
"""

import functools
import os

import numpy as np

# Name of the first, or only, signature of every artefact.
SIGNATURE = "serving_default"


def saved_model(path, threads: int | None = None) -> dict:
    """Reads a SavedModel with TensorFlow.

    Args:
        path: Its folder.
        threads: Threads of one operation. TensorFlow accepts a number only before its
            first operation. Default: its own choice.
    """
    import tensorflow as tf

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf.saved_model.load(str(path))

    def run(signature, image):
        # Keeps `model` alive: a signature does not own its variables.
        outputs = model.signatures[signature](image=tf.constant(image))
        return {name: value.numpy() for name, value in outputs.items()}

    return {name: functools.partial(run, name) for name in model.signatures}


def tflite(path, threads: int | None = None) -> dict:
    """Reads a .tflite with LiteRT.

    Integer files take and return real numbers: inputs are quantised, outputs
    dequantised.

    Args:
        path: Path of the file.
        threads: Threads of LiteRT. Default: one per core.
    """
    from ai_edge_litert.interpreter import Interpreter

    threads = threads or os.cpu_count()  # LiteRT's own default is one.
    interpreter = Interpreter(model_path=str(path), num_threads=threads)

    def function(signature):
        runner = interpreter.get_signature_runner(signature)
        takes, gives = runner.get_input_details(), runner.get_output_details()

        def run(image):
            outputs = runner(image=_quantized(np.asarray(image), takes["image"]))
            return {
                name: _dequantized(value, gives[name])
                for name, value in outputs.items()
            }

        batch = takes["image"]["shape_signature"][0]
        return run if batch < 1 else _in_batches(run, batch)

    return {name: function(name) for name in interpreter.get_signature_list()}


def _quantized(values, tensor):
    scale, zero = tensor["quantization"]
    if not scale or values.dtype == tensor["dtype"]:
        return values
    limits = np.iinfo(tensor["dtype"])
    levels = np.round(values / scale) + zero
    return np.clip(levels, limits.min, limits.max).astype(tensor["dtype"])


def _dequantized(values, tensor):
    scale, zero = tensor["quantization"]
    return scale * (values.astype("float32") - zero) if scale else values


def onnx(path, threads: int | None = None) -> dict:
    """Reads an ONNX graph with ONNX Runtime, as a single signature.

    Args:
        path: Path of the file.
        threads: Threads of one operation. Default: one per core.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(
        str(path), settings, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(image):
        return dict(zip(names, session.run(names, {"image": image}), strict=True))

    batch, *_ = session.get_inputs()[0].shape  # A name if it is free.
    return {SIGNATURE: _in_batches(run, batch) if isinstance(batch, int) else run}


def _in_batches(run, size: int):
    """Runs any number of images through a graph that takes `size` at a time."""

    def call(image):
        found = []
        for start in range(0, len(image), size):
            part = np.asarray(image[start : start + size])
            found.append(run(np.resize(part, (size, *part.shape[1:]))))
        return {
            name: np.concatenate([outputs[name] for outputs in found])[: len(image)]
            for name in found[0]
        }

    return call
