"""Counts the operations and multiply-accumulates of an inference graph."""

import math

import tensorflow as tf

from trainers.flops import einsum_macs, frozen_graph

# Operations that neither compute nor move anything.
_FREE = {"Const", "Placeholder", "Identity", "NoOp"}
_LOOPS = {"While", "StatelessWhile", "LoopCond"}


def node_count(net, image_shape) -> int:
    """Counts the operations of the frozen graph that depend on the images.

    Operations on constants alone are not counted: runtimes compute them once.

    Args:
        net: A layer from images to logits, called with training=False.
        image_shape: (height, width, channels).
    """
    return len(operations(net, image_shape))


def operations(net, image_shape) -> list[str]:
    """Lists the types of the operations that `node_count` counts."""
    varying, found = set(), []
    for node in frozen_graph(net, image_shape, batch=None).get_operations():
        fed = node.type == "Placeholder" or any(
            x.op.name in varying for x in node.inputs
        )
        if fed:
            varying.add(node.name)
            if node.type not in _FREE:
                found.append(node.type)
    return found


def macs(net, image_shape) -> int | None:
    """Counts multiply-accumulates of one image in convolutions and matrix products.

    Args:
        net, image_shape: See `node_count`.

    Returns:
        Their number; None for a graph with loops, as in recurrent layers, whose
        iterations it does not tell, or with unknown sizes.
    """
    nodes = frozen_graph(net, image_shape).get_operations()
    counts = [_macs(node) for node in nodes]
    return None if None in counts else sum(counts)


def _macs(node: tf.Operation) -> int | None:
    if node.type in _LOOPS:
        return None
    try:
        if whole := _WHOLE.get(node.type):
            return whole(node)
        summed = _SUMMED.get(node.type)
        return math.prod(node.outputs[0].shape) * summed(node) if summed else 0
    except (TypeError, ValueError):  # An unknown size is None, or raises.
        return None


def _transposed_convolution(node):
    """Counts every number of the image times a kernel of (height, width, out)."""
    _, kernel, image = node.inputs
    return math.prod(image.shape) * math.prod(kernel.shape[:3])


def _rows(node):
    """Returns the rows of the right factor of a product, which may be transposed."""
    return node.inputs[1].shape[1 if node.get_attr("transpose_b") else 0]


def _columns(node):
    """Returns the columns of the left factors of a batch of products."""
    return node.inputs[0].shape[-2 if node.get_attr("adj_x") else -1]


# By type of operation: all its products.
_WHOLE = {
    "Conv2DBackpropInput": _transposed_convolution,
    "Einsum": einsum_macs,
}
# By type of operation: the products summed for one number of the output.
_SUMMED = {
    # Kernels are (height, width, in, out) and (height, width, channels, multiplier).
    "Conv2D": lambda node: math.prod(node.inputs[1].shape[:3]),
    "Conv3D": lambda node: math.prod(node.inputs[1].shape[:4]),
    "DepthwiseConv2dNative": lambda node: math.prod(node.inputs[1].shape[:2]),
    "MatMul": _rows,
    "BatchMatMul": _columns,
    "BatchMatMulV2": _columns,
    "BatchMatMulV3": _columns,
}
