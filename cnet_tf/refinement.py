"""Refinement and projection of whole nets and of their optimizers.

Every series of the net, trainable or not, is multiplied by a matrix, theta' = P theta,
and so is the momentum that an optimizer keeps for it (`optimizer_slots`).
"""

import numpy as np

from cnet_tf.adapted import settle
from cnet_tf.checks import finite_values, per_block
from cnet_tf.optimizer_slots import carry_over
from cnet_tf.prolongation import projection, prolongation
from cnet_tf.surgery import blocks_of, chosen_blocks, series_of, with_blocks


def refine(net, factor=2, steps_factor=None, optimizer=None, blocks=None):
    """Returns a deeper model with the same field: K -> factor K, N -> factor N.

    Frozen parts stay frozen, and names do not change.

    Args:
        net: A built functional or Sequential model with `ContinuousBlock`s in it.
        factor: Cells of the new basis per cell of the old one: an integer >= 1, or one
            per block.
        steps_factor: New steps per old step. Default: `factor`. With 1 only the basis
            is refined and the logits do not change: bit for bit for piecewise constants
            and factors that are powers of two, otherwise up to rounding. This holds
            where steps read theta as before: for constants with K a multiple of N, and
            else if N is at least the number of new cells; steps that span several cells
            read averages.
        optimizer: A built `keras.optimizers.Optimizer` of the net, or None.
        blocks: Names of the blocks to refine. Default: all.

    Returns:
        The new net; with an optimizer, the pair (net, optimizer). The old ones are not
        modified.

    Raises:
        ValueError: no continuous blocks, a bad factor, or non-finite values.
    """
    chosen = chosen_blocks(net, blocks)
    factors = per_block("factor", factor, len(chosen))
    steps = per_block("steps_factor", steps_factor, len(chosen))

    def finer(block, i):
        times = factors[i] if steps[i] is None else steps[i]
        return block.refined(factors[i], block.steps * times)

    new = with_blocks(net, chosen, _sharing(net, chosen, finer), share=False)
    return _mapped(net, new, series_of(net), series_of(new), prolongation, optimizer)


def project(net, basis=None, nodes=None, steps=None, optimizer=None, blocks=None):
    """Returns the nearest model in another basis, by exact L2 projection of theta.

    Args:
        net: A built functional or Sequential model with `ContinuousBlock`s in it.
        basis: A key of `BASES`. Default: each block's own.
        nodes: K', an int or one per block. Default: each block's own.
        steps: N, an int or one per block. Default: the cells of the new basis.
        optimizer: A built optimizer of the net, or None.
        blocks: Names of the blocks to project. Default: all.

    Returns:
        The new net; with an optimizer, the pair (net, optimizer).

    Raises:
        ValueError: no continuous blocks, unknown basis, or non-finite values.
    """
    chosen = chosen_blocks(net, blocks)
    sizes = per_block("nodes", nodes, len(chosen))
    counts = per_block("steps", steps, len(chosen))

    def nearest(block, i):
        kind, size = block.basis.key
        size = size if sizes[i] is None else sizes[i]
        return block.rebased(basis or kind, size, counts[i])

    new = with_blocks(net, chosen, _sharing(net, chosen, nearest), share=False)
    return _mapped(net, new, series_of(net), series_of(new), projection, optimizer)


def _sharing(net, chosen, make):
    """Wraps `make`, so that blocks that share a rate in the net still share one."""
    made, rates = {}, {id(block.rate) for block in chosen}
    for block in blocks_of(net):
        if block not in chosen and id(block.rate) in rates:
            raise ValueError(
                "blocks: expected all blocks that share a rate, or none of them. "
                f"Received them without {block.name!r}: name it too."
            )

    def shared(block, i):
        new = make(block, i)
        first = made.setdefault(id(block.rate), new)
        if first.basis != new.basis:
            raise ValueError(
                f"blocks: expected one basis for {first.name!r} and {new.name!r}, "
                f"which share a rate. Received K = {first.nodes} and {new.nodes}."
            )
        return new if first is new else new.around(lambda _: first.rate)

    return shared


def _mapped(net, new, old_series, new_series, matrix, optimizer):
    """Carries the weights of `net`, and its optimizer, over to `new`."""
    matrices = {}
    for old, new_one in zip(old_series, new_series, strict=True):
        if old.basis != new_one.basis:
            exact = matrix(old.basis, new_one.basis)
            matrices[id(old.variable)] = np.array(exact, dtype="float64")
    for old, target in zip(net.variables, new.variables, strict=True):
        target.assign(_carried(old, target, matrices.get(id(old))))
        # A single weight may be frozen although its layer is not.
        target.trainable = old.trainable
    settle(new)
    if optimizer is None:
        return new
    weights = net.trainable_variables
    maps = [matrices.get(id(weight)) for weight in weights]
    return new, carry_over(optimizer, weights, new.trainable_variables, maps)


def _carried(old, target, matrix):
    """Returns P theta, computed in float64, or theta if the basis is the same.

    Checks that values are finite and have the shape of the target.
    """
    value = finite_values(old)
    if matrix is not None:
        value = np.tensordot(matrix, value.astype("float64"), axes=1).astype(old.dtype)
    if value.shape != tuple(target.shape):
        raise ValueError(
            f"{target.path}: expected shape {tuple(target.shape)}. "
            f"Received {value.shape} from {old.path}."
        )
    return value
