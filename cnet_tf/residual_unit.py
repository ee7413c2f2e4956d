"""Residual units of image nets: y = activation(skip(x) + stitch branch(x))."""

import dataclasses
from collections.abc import Callable

import keras

from cnet_tf.layer_factory import LayerFactory
from cnet_tf.scale import Scale


def post_activation(make: LayerFactory, width, strides=1) -> list:
    """conv - relu - norm, twice: the unit of the paper, which ends in a norm."""
    return [
        *make.conv("conv_0", width, strides=strides),
        make.relu("relu_0"),
        make.norm("norm_0"),
        *make.conv("conv_1", width),
        make.relu("relu_1"),
        make.norm("norm_1"),
    ]


def pre_activation(make: LayerFactory, width, strides=1, strided=0) -> list:
    """norm - relu - conv, twice; convolution number `strided` has the stride."""
    first, second = (strides, 1) if strided == 0 else (1, strides)
    return [
        make.norm("norm_0"),
        make.relu("relu_0"),
        *make.conv("conv_0", width, strides=first),
        make.norm("norm_1"),
        make.relu("relu_1"),
        *make.conv("conv_1", width, strides=second),
    ]


def without_last_norm(make: LayerFactory, width, strides=1) -> list:
    """The transition of the post-activation nets.

    The published code builds a second norm but never applies it; here it is omitted
    (224 dead parameters for widths 16, 32, 64).
    """
    return post_activation(make, width, strides)[:-1]


def skip_init(make: LayerFactory, width) -> list:
    """conv - relu - conv - scale: a scalar replaces the norms."""
    return [
        *make.conv("conv_0", width),
        make.relu("relu_0"),
        *make.conv("conv_1", width),
        Scale(dtype=make.dtype, name="scale"),
    ]


def projection(make: LayerFactory, width, strides=1, use_bias=False) -> list:
    """A 1x1 convolution: the skip where the shape changes."""
    return make.conv("conv", width, 1, strides, use_bias)


def normed_projection(make: LayerFactory, width, strides=1, use_bias=False) -> list:
    return [*projection(make, width, strides, use_bias), make.norm("norm")]


@dataclasses.dataclass(frozen=True)
class UnitStyle:
    """One family of continuous nets.

    Attributes:
        rate: Function (factory, width) that returns the layers of R.
        transition: Function (factory, width, stride) that returns the layers of the
            branch between blocks.
        skip: Function of the same arguments that returns the layers of the skip beside
            that branch.
        keeps_shape: Whether the skip is the identity where the shape does not change.
        tail: Names of the layers before the pooling: `norm`, `relu`.
        use_bias: Whether the convolutions of branches and rates have biases.
    """

    rate: Callable
    transition: Callable
    skip: Callable = projection
    keeps_shape: bool = False
    tail: tuple[str, ...] = ()
    use_bias: bool = True


UNITS: dict[str, UnitStyle] = {
    # Published.
    "post": UnitStyle(post_activation, without_last_norm),
    # Published: activation first ("act first"), no ReLU in front of the pooling.
    "pre": UnitStyle(pre_activation, pre_activation, tail=("norm",)),
    # Ours: the same with the ReLU that pre-activation nets usually end in.
    "pre_tail_relu": UnitStyle(pre_activation, pre_activation, tail=("norm", "relu")),
    # Published: the JAX net of the stateful norms, without biases.
    "stateful": UnitStyle(
        pre_activation,
        pre_activation,
        normed_projection,
        keeps_shape=True,
        tail=("norm",),
        use_bias=False,
    ),
    # Ours.
    "skip_init": UnitStyle(skip_init, without_last_norm),
}


def residual(make, name, x, branch, skip=(), stitch=1.0, activation=None):
    """Returns y = activation(skip(x) + stitch branch(x)), made by a nested model.

    Args:
        make: The factory of the layers.
        name: Name of the nested model.
        x: Symbolic input.
        branch, skip: Layers; an empty skip is the identity.
        stitch: stitch_eps, the factor of the branch. Default 1.
        activation: A layer after the sum, or None.
    """
    inputs = keras.Input(batch_shape=x.shape, dtype=x.dtype, name=f"{name}_input")
    if stitch != 1:
        branch = [
            *branch,
            keras.layers.Rescaling(stitch, dtype=make.dtype, name="stitch"),
        ]
    kept = keras.Sequential(skip, name="skip")(inputs) if skip else inputs
    added = keras.Sequential(branch, name="branch")(inputs)
    y = keras.layers.Add(dtype=make.dtype, name="add")([kept, added])
    if activation is not None:
        y = activation(y)
    return keras.Model(inputs, y, name=name)(x)
