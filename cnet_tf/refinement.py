"""Refinement and projection of whole nets and of their optimizers.

Every series of the net, trainable or not, and every slot that an optimizer keeps for it
is multiplied by the same matrix: theta' = P theta. Momentum is thereby carried over.
"""

import keras
import numpy as np
from keras import ops

from cnet_tf.net import Net, require_blocks
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
    return new, _mapped_optimizer(optimizer, net, new, matrices)


def _carried(old, target, matrix):
    """P theta in float64, checked; theta itself where the basis is the same."""
    value = ops.convert_to_numpy(old)
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{old.path}: expected finite values. Received nan or inf.")
    if matrix is not None:
        value = np.tensordot(matrix, value.astype("float64"), axes=1).astype(old.dtype)
    if value.shape != tuple(target.shape):
        raise ValueError(
            f"{target.path}: expected shape {tuple(target.shape)}. "
            f"Received {value.shape} from {old.path}."
        )
    return value


def _mapped_optimizer(optimizer, net, new, matrices):
    """An optimizer of the new net: slots mapped like their weights, counters copied."""
    twin = type(optimizer).from_config(optimizer.get_config())
    twin.build(new.trainable_variables)
    weights = net.trainable_variables
    slots, counters = _slots_and_counters(optimizer, len(weights))
    twin_slots, twin_counters = _slots_and_counters(twin, len(weights))
    for slot, twin_slot in zip(slots, twin_slots, strict=True):
        # Second moments must stay positive where a projection undershoots zero.
        second_moment = all(np.min(ops.convert_to_numpy(v)) >= 0 for v in slot)
        for weight, old, target in zip(weights, slot, twin_slot, strict=True):
            value = _carried(old, target, matrices.get(id(weight)))
            target.assign(np.maximum(value, 0) if second_moment else value)
    for old, target in zip(counters, twin_counters, strict=True):
        target.assign(_carried(old, target, None))
    return twin


def slots(optimizer, net) -> list:
    """The variables that an optimizer keeps for the weights of a net: its momenta."""
    found, _ = _slots_and_counters(optimizer, len(net.trainable_variables))
    return [variable for slot in found for variable in slot]


def _slots_and_counters(optimizer, count):
    """Slots are the lists of one variable per weight; the rest counts or scales."""
    slots = [
        value
        for name, value in sorted(vars(optimizer).items())
        if isinstance(value, list)
        and len(value) == count
        and name not in ("_trainable_variables", "_variables")
        and all(isinstance(v, keras.Variable) for v in value)
    ]
    known = {id(v) for slot in slots for v in slot}
    return slots, [v for v in optimizer.variables if id(v) not in known]
