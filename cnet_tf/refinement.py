"""Refinement and projection of whole nets and of their optimizers.

Every series of the net, trainable or not, is multiplied by a matrix, theta' = P theta,
and so is the momentum that an optimizer keeps for it (`optimizer_slots`).
"""

import numpy as np

from cnet_tf.checks import finite_values
from cnet_tf.net import Net, require_blocks
from cnet_tf.optimizer_slots import carry_over
from cnet_tf.prolongation import projection, prolongation, refined


def refine(net: Net, factor: int = 2, steps_factor: int | None = None, optimizer=None):
    """A deeper net that computes the same field: K -> factor K, N -> factor N.

    Args:
        net: A built net with continuous blocks.
        factor: Integer >= 1, cells of the new basis per cell of the old one.
        steps_factor: New steps per old step. Default: `factor`. With 1 only the basis
            is refined and the logits stay as they are: bit for bit for piecewise
            constants and factors that are powers of two, else up to rounding.
        optimizer: A built `keras.optimizers.Optimizer` of the net, or None.

    Returns:
        The new net; with an optimizer, the pair (net, optimizer). The old ones are
        left as they are.

    Raises:
        ValueError: no continuous blocks, a bad factor, values that are not finite.
    """
    config = net.get_config()
    steps_factor = factor if steps_factor is None else steps_factor
    bases = [refined(block.rate.basis, factor) for block in net.blocks]
    config["nodes"] = tuple(basis.size for basis in bases)
    config["steps"] = tuple(n * steps_factor for n in config.get("steps", ()))
    return _mapped(net, config, prolongation, optimizer)


def project(net: Net, basis=None, nodes=None, steps=None, optimizer=None):
    """The net nearest to this one in another basis, by exact L2 projection of theta.

    Args:
        net: A built net with continuous blocks.
        basis: A key of `BASES`. Default: the net's own.
        nodes: K', an int or one a block. Default: the net's own.
        steps: N, an int or one a block. Default: the cells of the new basis.
        optimizer: A built optimizer of the net, or None.

    Returns:
        The new net; with an optimizer, the pair (net, optimizer).

    Raises:
        ValueError: no continuous blocks, unknown basis, values that are not finite.
    """
    config = net.get_config()
    config["basis"] = basis or config.get("basis")
    config["nodes"] = config.get("nodes") if nodes is None else nodes
    config["steps"] = steps
    return _mapped(net, config, projection, optimizer)


def _mapped(net, config, matrix, optimizer):
    require_blocks(net)
    new = type(net).from_config(config)
    new.build(net.get_build_config()["input_shape"])
    matrices = {}
    for old_series, new_series in zip(net.series, new.series, strict=True):
        if old_series.basis != new_series.basis:
            exact = matrix(old_series.basis, new_series.basis)
            matrices[id(old_series.variable)] = np.array(exact, dtype="float64")
    for old, target in zip(net.variables, new.variables, strict=True):
        target.assign(_carried(old, target, matrices.get(id(old))))
    if optimizer is None:
        return new
    weights = net.trainable_variables
    maps = [matrices.get(id(weight)) for weight in weights]
    return new, carry_over(optimizer, weights, new.trainable_variables, maps)


def _carried(old, target, matrix):
    """P theta in float64, checked; theta itself where the basis is the same."""
    value = finite_values(old)
    if matrix is not None:
        value = np.tensordot(matrix, value.astype("float64"), axes=1).astype(old.dtype)
    if value.shape != tuple(target.shape):
        raise ValueError(
            f"{target.path}: expected shape {tuple(target.shape)}. "
            f"Received {value.shape} from {old.path}."
        )
    return value
