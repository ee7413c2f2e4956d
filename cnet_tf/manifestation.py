"""Manifestations of a trained net: the same theta(t), another graph."""

import collections
import contextlib
import functools

import numpy as np
from keras import ops

from cnet_tf.any_depth import (
    member_read,
    members_of,
    reading_own_norms,
    with_own_norms,
    with_statistics_apart,
)
from cnet_tf.bounds import MOST_NODES
from cnet_tf.checks import per_block
from cnet_tf.member_name import member_name
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.surgery import blocks_of, chosen_blocks, normalizations, with_blocks


def manifest(
    net,
    scheme=None,
    steps=None,
    blocks=None,
    restriction=None,
    unroll=None,
    recompute=None,
):
    """Returns the model with another scheme or step count; both share their variables.

    A member of an any-depth net (`any_depth.with_members`) reads its own norms.

    Args:
        net: A built functional or Sequential model with `ContinuousBlock`s in it.
        scheme: A key of `SCHEMES`. Default: each block's own.
        steps: N >= 1, an int for all blocks or one per block. Default: each block's
            own.
        blocks: Names of the blocks to change. Default: all.
        restriction: `"average"`, `"quadrature"` or `"point"`, see `ContinuousBlock`.
            Default: each block's own.
        unroll: Whether every step has its own part of the graph, see `ContinuousBlock`.
            Default: each block's own.
        recompute: Whether the backward pass recomputes the steps, which saves memory,
            see `ContinuousBlock`. Default: each block's own.

    Raises:
        ValueError: a subclassed model, one that is not built or has no such blocks;
            unknown scheme or restriction; bad steps; unroll=False or recompute=True
            with a rate that draws random numbers or regularises activity.
    """
    chosen = chosen_blocks(net, blocks)
    counts = per_block("steps", steps, len(chosen))
    new = with_blocks(
        net,
        chosen,
        lambda block, i: block.manifested(
            scheme=scheme,
            steps=counts[i],
            restriction=restriction,
            unroll=unroll,
            recompute=recompute,
        ),
        share=True,
    )
    return reading_own_norms(new, net)


def unrolled(net):
    """Returns the model with all steps in the graph: itself, unless it has loops."""
    if all(block.unroll for block in blocks_of(net)):
        return net
    return manifest(net, unroll=True)


def recalibrated(net, data):
    """Returns a twin of a net with batch norms that fit the net's manifestation.

    Its norms are its own and keep statistics of each evaluation: the stages of a long
    step see moments so different that one mean and variance would suit none of them.
    The net is not changed, and shares its other layers with the twin
    (`any_depth.with_own_norms`).

    Args:
        net: A built functional or Sequential model of one input, such as one from
            `manifest`.
        data: Iterable of batches of inputs, or of (inputs, labels) pairs, augmented as
            in training.

    Raises:
        ValueError: the data are empty.
    """
    twin = with_own_norms(net)
    recalibrate(twin, data)
    return twin


def recalibrated_along(net, data, depth_cells=None):
    """Returns a twin of a net with batch norms that also fit other manifestations.

    Its outputs are those of the net. Other manifestations read moments of the state
    along the solution of the equation, as functions of depth. These are right for every
    manifestation whose steps are short enough to stay near the solution, without any
    more data.

        net = recalibrated_along(net, batches)
        manifest(net, scheme="euler", steps=4)  # As good as recalibrated.

    Members keep their values. The solution is computed by midpoint with one step per
    cell, or with shorter steps where that is a member.

    Args:
        net, data: See `recalibrated`.
        depth_cells: Cells of depth, see `any_depth.with_statistics_apart`. Default:
            four per step of the block with the most steps, at most 1024.

    Raises:
        ValueError: no blocks, blocks of several schemes, no batch norms or some that
            cannot become series, bad depth_cells, or the data are empty.
    """
    if depth_cells is None:
        most = max(block.steps for block in chosen_blocks(net))
        depth_cells = min(4 * most, MOST_NODES)
    twin = with_own_norms(net)
    if member_read(twin) is None:
        raise ValueError(
            "net: expected blocks of one scheme, and batch norms over the last axis "
            f"that Keras can rearrange. Received {net.name!r}, which cannot be a "
            "member of its own: it would read the statistics meant for others."
        )
    twin = with_statistics_apart(twin, depth_cells)
    steps = depth_cells
    while member_name("midpoint", steps) in members_of(twin):
        steps *= 2
    recalibrate(manifest(twin, "midpoint", steps), data)
    return twin


def recalibrate(net, data, frozen=True) -> int:
    """Re-estimates the batch-norm statistics of a net on data, in place.

    The statistics become the mean over batches of the batch moments, seen through this
    manifestation of the net. If a norm is called several times, as in a shared encoder,
    the mean is over its calls too. Weights do not change, but nets that share variables
    with this one see the new statistics; `recalibrated` leaves those nets alone.

    Args:
        net: A built model; its parts may be frozen.
        data: Iterable of batches of inputs, or of (inputs, labels) pairs.
        frozen: Whether norms that are frozen are re-estimated as well. Default True;
            after a training they have the statistics that the other layers know.

    Returns:
        The number of batches.

    Raises:
        ValueError: the data are empty.
    """
    totals, batches = None, 0
    norms = [norm for norm in normalizations(net) if frozen or norm.trainable]
    with contextlib.ExitStack() as stack:
        calls = collections.Counter()  # Calls of each norm in a pass.
        for norm in norms:
            stack.enter_context(_averaging(norm, calls))
        moving = {id(variable) for variable in _moving(norms)}
        others = [v for v in net.variables if id(v) not in moving]
        keep = stack.enter_context(_kept(others))
        for batch in data:
            calls.clear()
            inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
            net(inputs, training=True)
            keep()
            values = _values(norms)
            totals = values if totals is None else _add(totals, values)
            batches += 1
    if batches == 0:
        raise ValueError("data: expected at least one batch. Received none.")
    _assign(norms, [total / batches for total in totals])
    return batches


@contextlib.contextmanager
def _averaging(norm, calls):
    """Makes the statistics of a norm the mean over its calls, which are counted."""
    before = norm.momentum, norm.trainable
    name = "move" if isinstance(norm, SeriesBatchNormalization) else "call"
    moved = getattr(norm, name)

    @functools.wraps(moved)
    def counted(*args, **kwargs):
        norm.momentum = calls[id(norm)] / (calls[id(norm)] + 1)
        calls[id(norm)] += 1
        return moved(*args, **kwargs)

    norm.trainable = True  # A frozen one would not see the batch.
    setattr(norm, name, counted)
    try:
        yield
    finally:
        delattr(norm, name)
        norm.momentum, norm.trainable = before


@contextlib.contextmanager
def _kept(variables):
    """Keeps the values of variables that a pass in training may change.

    Layers such as `SpectralNormalization` change their state and even the weights that
    they wrap.

    Yields:
        A function that restores them between passes, but for the states of random
        generators: these are restored at the end.
    """
    values = [ops.copy(variable) for variable in variables]

    def restore(all_of_them=False):
        for variable, value in zip(variables, values, strict=True):
            if all_of_them or "int" not in variable.dtype:
                variable.assign(value)

    try:
        yield restore
    finally:
        restore(all_of_them=True)


def _add(left, right):
    return [a + b for a, b in zip(left, right, strict=True)]


def statistics(net) -> list[np.ndarray]:
    """Returns copies of the moving statistics of a net."""
    return _values(normalizations(net))


def _values(norms) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(v)) for v in _moving(norms)]


def restore_statistics(net, values):
    """Restores moving statistics from `statistics`."""
    _assign(normalizations(net), values)


def _assign(norms, values):
    for variable, value in zip(_moving(norms), values, strict=True):
        variable.assign(value)


def _moving(norms):
    # Not `non_trainable_variables`, which hold all the weights of a frozen net.
    return [
        getattr(moving, "variable", moving)
        for norm in norms
        for moving in (norm.moving_mean, norm.moving_variance)
    ]
