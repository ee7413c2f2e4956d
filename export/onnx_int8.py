"""Static int8 quantisation of an ONNX graph, by ONNX Runtime."""

import logging
import pathlib

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from export import staging

# Additions stay float: with a quantised state, RK4 (not Euler) loses accuracy at every
# step. The head stays float too: its logits would be clipped to the range of the
# calibration set. ReLU is included so that ranges are measured after it; before it,
# dead channels of a folded net reach -1000 and use up all 256 levels.
_QUANTIZED = ["Conv", "Relu"]


class _Samples(CalibrationDataReader):
    """Hands out inputs one by one."""

    def __init__(self, inputs):
        self._inputs = iter(inputs)

    def get_next(self):
        image = next(self._inputs, None)
        return None if image is None else {"image": image}


def quantize(model: onnx.ModelProto, inputs: list, folder) -> onnx.ModelProto:
    """Quantises weights to int8 per channel, activations to uint8, as QDQ pairs.

    Args:
        model: A float32 graph; its inputs and outputs keep their types.
        inputs: Arrays for `image`, one batch each; their extremes set the ranges.
        folder: For intermediate files.
    """
    # ONNX Runtime logs its own defaults to the root logger.
    logging.getLogger().setLevel(logging.ERROR)
    paths = [str(pathlib.Path(folder, f"{i}.onnx")) for i in range(2)]
    # ONNX Runtime writes intermediate files throughout.
    with staging.writing():
        onnx.save(model, paths[0])
        quantize_static(
            *paths,
            _Samples(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            # ONNX Runtime fuses signed activations with only some convolutions.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Seven bits of weights: without VNNI, x86 adds pairs of products in int16;
            # 2 * 255 * 64 fits where 2 * 255 * 127 saturates.
            reduce_range=True,
            # Percentiles clip: the mean error shrinks, but the largest errors grow.
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(paths[1])
