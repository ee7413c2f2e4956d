"""Folds chains of linear maps, affine maps and other functions.

At inference a batch norm is affine, y = s x + d per channel with

    s = gamma / sqrt(sigma^2 + epsilon),    d = beta - s mu.

Only what is exact, up to rounding, is folded:

    s (W x + b) + d           = (s W) x + (s b + d)
    s relu(W x + b)           = sign(s) relu(|s| W x + |s| b)       relu is homogeneous
    W (s x) + b               = (W s) x + b                         along input channels

A shift d before a convolution stays: padded zeros lack d, so a constant shift after the
convolution would be wrong at the border.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Linear:
    """W x + b: a convolution with these strides, or a dense layer if they are None.

    Attributes:
        kernel: (height, width, in, out), (in, out), or (height, width, in, multiplier)
            of a depthwise convolution.
        bias: (out,).
        strides: Strides of a convolution.
        padding: `"same"`, or the number of zeros that a convolution adds on every side.
        depthwise: Whether every channel has its own kernels.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strides: tuple[int, int] | None = None
    padding: str | int = "same"
    depthwise: bool = False

    @property
    def mixes(self) -> bool:
        """Whether it mixes the channels of each pixel alike, without padded zeros."""
        one_pixel = self.kernel.ndim == 2 or self.kernel.shape[:2] == (1, 1)
        return one_pixel and self.padding in ("same", 0) and not self.depthwise


@dataclasses.dataclass(frozen=True)
class Affine:
    """scale x + shift, both (channels,) or scalar."""

    scale: np.ndarray
    shift: np.ndarray


@dataclasses.dataclass(frozen=True)
class Padding:
    """Zeros on every side of an image."""

    margin: int


@dataclasses.dataclass(frozen=True)
class Function:
    """Anything else; nothing folds through it, except positive factors through a ReLU.

    Attributes:
        function: Function of x.
        layer: The layer that the function calls, if any.
    """

    function: Callable
    layer: object = None


def folded(operations: list, factor: float = 1.0) -> list:
    """Folds operations into a shorter chain with `factor` times their result."""
    done = []
    for operation in [*operations, Affine(np.array(factor), np.zeros(()))]:
        if isinstance(operation, Affine):
            _append_affine(done, operation)
        elif isinstance(operation, Linear):
            _append_linear(done, operation)
        else:
            done.append(operation)
    return done


def _append_affine(done, new):
    """Appends an affine map, or folds it into the operations before it."""
    last = done[-1] if done else None
    scale, shift = new.scale, new.shift
    if isinstance(last, Affine):
        done.pop()
        _append_affine(done, Affine(scale * last.scale, scale * last.shift + shift))
    elif isinstance(last, Linear):
        done[-1] = _scaled(last, scale, shift)
    else:
        if len(done) > 1 and _is_relu(last) and isinstance(done[-2], Linear):
            done[-2] = _scaled(done[-2], np.abs(scale), 0.0)
            # relu(0 x) is 0, so the sign of a zero scale does not matter.
            scale = np.where(scale < 0, -1.0, 1.0)
        if np.any(scale != 1) or np.any(shift != 0):
            done.append(Affine(scale, shift))


def _append_linear(done, linear):
    """Appends a linear map, absorbing what it can of a padding or affine map before."""
    if done and isinstance(done[-1], Padding) and linear.padding == 0:
        linear = dataclasses.replace(linear, padding=done.pop().margin)
    if not done or not isinstance(done[-1], Affine):
        done.append(linear)
        return
    before = done.pop()
    scale, shift = (
        np.broadcast_to(v, linear.kernel.shape[-2:-1])
        for v in (before.scale, before.shift)
    )
    if linear.mixes:
        axes = tuple(range(linear.kernel.ndim - 2))
        bias = linear.bias + shift @ linear.kernel.sum(axis=axes)
        linear = dataclasses.replace(linear, bias=bias)
        shift = np.zeros_like(shift)
    if np.all(shift == 0) or np.all(np.abs(scale) == 1):
        kernel = linear.kernel * scale[:, None]
        linear = dataclasses.replace(linear, kernel=kernel)
        # s x + d = s (x + s d) for signs s.
        scale, shift = np.ones_like(scale), scale * shift
    if np.any(scale != 1) or np.any(shift != 0):
        done.append(Affine(scale, shift))
    done.append(linear)


def _scaled(linear, scale, shift):
    """Returns s (W x + b) + d as one linear map."""
    factors = np.broadcast_to(scale, linear.bias.shape)
    if linear.depthwise:
        factors = factors.reshape(linear.kernel.shape[-2:])
    kernel, bias = linear.kernel * factors, linear.bias * scale + shift
    return dataclasses.replace(linear, kernel=kernel, bias=bias)


def _is_relu(operation):
    return (
        isinstance(operation, Function) and operation.function is keras.activations.relu
    )
