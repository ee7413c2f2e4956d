"""Converts a SavedModel to a flatbuffer for LiteRT, in one of four precisions."""

import dataclasses
import re
import warnings

import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from export.gate import Gate
from trainers.errors import OptionError

_SMALLER = (tf.lite.Optimize.DEFAULT,)
# Built-ins only: TensorFlow ops would need a 100 MB runtime.
_FLOATS = tf.lite.OpsSet.TFLITE_BUILTINS
_INTEGERS = tf.lite.OpsSet.TFLITE_BUILTINS_INT8


@dataclasses.dataclass(frozen=True)
class Precision:
    """How weights and activations are stored.

    Attributes:
        gate: How far an export may differ from Keras.
        operations: Operations allowed in the graph. Those of int8 exclude floats and
            need a calibration set for the ranges of activations.
        optimizations: Optimizations of the converter.
        types: Types of the weights. Default: chosen by the converter.
    """

    gate: Gate
    operations: tf.lite.OpsSet = _FLOATS
    optimizations: tuple = ()
    types: tuple = ()

    @property
    def integer(self) -> bool:
        """Whether all arithmetic is in integers, by default input and outputs too."""
        return self.operations is _INTEGERS


PRECISIONS: dict[str, Precision] = {
    "float32": Precision(Gate.exact(1e-4)),
    "float16": Precision(Gate.reduced(), optimizations=_SMALLER, types=(tf.float16,)),
    # Weights are int8; ranges of activations are found at run time.
    "dynamic": Precision(Gate.reduced(), optimizations=_SMALLER),
    # Weights are scaled per channel, as the converter does for these operations.
    "int8": Precision(Gate.reduced(), _INTEGERS, _SMALLER),
}

# For int8, by kind of input: the kind to trace, and the type of the converted input.
# Pixels are traced as floats, so that the converter quantises them, which is the
# identity because their range is 0..255. A graph that casts integers itself would hold
# floats. Float pixels stay floats, for runtimes that read no other type, and are
# quantised inside the graph.
INTEGER_INPUTS: dict[str, tuple[str, tf.DType]] = {
    "normalized": ("normalized", tf.int8),
    "float": ("float", tf.float32),
    "uint8": ("float", tf.uint8),
}


def convert(
    archive,
    signatures: list[str],
    precision: str = "float32",
    inputs: list | tuple = (),
    input_type: tf.DType | None = None,
    output_type: tf.DType = tf.int8,
) -> bytes:
    """Converts some signatures of a SavedModel; shared constants are stored once.

    Args:
        archive: Folder of the SavedModel.
        signatures: Their names.
        precision: A key of `PRECISIONS`.
        inputs: For int8, arrays of one batch each, as `image` of the SavedModel takes
            them.
        input_type, output_type: For int8, types of `image` and scores in the result.

    Raises:
        OptionError: the graph has operations that LiteRT lacks.
    """
    chosen = PRECISIONS[precision]
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(archive), signature_keys=list(signatures)
    )
    converter.optimizations = list(chosen.optimizations)
    converter.target_spec.supported_types = list(chosen.types)
    converter.target_spec.supported_ops = [chosen.operations]
    if chosen.integer:
        converter.representative_dataset = lambda: (
            (signature, {"image": image})
            for signature in signatures
            for image in inputs
        )
        converter.inference_input_type = input_type
        converter.inference_output_type = output_type
    with warnings.catch_warnings():
        # TensorFlow calibrates with an interpreter that it deprecates.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        try:
            return converter.convert()
        except ConverterError as error:
            raise _unknown_layers(error) from error


def _unknown_layers(error) -> OptionError:
    """Finds the operations that LiteRT lacks in one line of a long message."""
    lines = re.findall("(?:Custom|Select TF|Flex) ops: .*", str(error))
    lines = lines or re.findall(r"error: '(tf\.\w+)' op", str(error))
    if not lines and "tensor list" in str(error).lower():
        lines = ["loops of recurrent layers"]
    reason = "; ".join(dict.fromkeys(lines)) or str(error).strip().splitlines()[-1]
    return OptionError(
        "--run, --model: expected layers that LiteRT has built in. Received "
        f"{reason.strip()}: use other layers, or another format."
    )
