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
from onnxruntime.quantization.shape_inference import quant_pre_process


class _Samples(CalibrationDataReader):
    """Hands out inputs one by one."""

    def __init__(self, inputs):
        self._inputs = iter(inputs)

    def get_next(self):
        image = next(self._inputs, None)
        return None if image is None else {"image": image}


def quantize(model: onnx.ModelProto, inputs: list, folder) -> onnx.ModelProto:
    """The model with int8 weights per channel and int8 activations, as QDQ pairs.

    Args:
        model: float32; its inputs and outputs stay what they are.
        inputs: What `image` takes, one image each; ranges are their extremes.
        folder: For intermediate files.
    """
    # It talks of its own defaults on the root logger.
    logging.getLogger().setLevel(logging.ERROR)
    paths = [str(pathlib.Path(folder, f"{i}.onnx")) for i in range(3)]
    onnx.save(model, paths[0])
    # Shapes are known: the symbolic way would need sympy.
    quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
    quantize_static(
        paths[1],
        paths[2],
        _Samples(inputs),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return onnx.load(paths[2])
