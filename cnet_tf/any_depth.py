"""Any-depth nets: manifestations with batch norms of their own.

The manifestations of a net share its kernels. What they cannot share without loss are
scales, shifts and moving statistics: a step of Euler over the whole depth hands on
other moments than eight evaluations of RK4. In an any-depth net every manifestation of
a menu, its *member*, has those numbers for itself (some hundred for each norm), so that
one set of kernels can be trained for all of them (`trainers/train.py --any_depth`).
Scales and shifts are series like the weights; statistics are of each evaluation, as
stages of one step meet other moments too.

References: Yu and Huang 2019, "Universally slimmable networks", arXiv 1903.05134
(private norms, the sandwich rule, in-place distillation).
"""

import numpy as np

from cnet_tf.checks import finite_values
from cnet_tf.lifted_layer import layers_of
from cnet_tf.member_name import manifestation_of, member_name
from cnet_tf.optimizer_slots import carry_over
from cnet_tf.runge_kutta import StageTime
from cnet_tf.series import ForwardPass
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.surgery import blocks_of, chosen_blocks, normalizations, with_layers
from cnet_tf.tableaus import get_scheme


def members_of(net) -> tuple[str, ...]:
    """The manifestations that have norms of their own; none in most nets."""
    return next((norm.members for norm in _norms(net)), ())


def with_members(net, members, optimizer=None):
    """The net with batch norms that have values of their own for every member.

    They start as those of the net, with which it shares all other layers.
    `manifest(net, scheme, steps)` finds them by itself.

    Args:
        net: A built functional or Sequential model with blocks and batch norms. Keras'
            own norms, over the last axis, become `SeriesBatchNormalization`s.
        members: Names of manifestations, `scheme:N`. Others, and that of the net itself
            if it is not named, read what the net had.
        optimizer: A built `keras.optimizers.Optimizer` of the net, or None.

    Returns:
        The new net; with an optimizer, the pair (net, optimizer), in which what the old
        one kept for a norm is kept for each of its members.

    Raises:
        ValueError: no blocks, no batch norms, members already, a bad name or one twice.
    """
    chosen_blocks(net)
    members = [member_name(*manifestation_of(name)) for name in members]
    if not members or len(set(members)) != len(members):
        raise ValueError(
            f"members: expected names of manifestations, each once. Received {members}."
        )
    if members_of(net):
        raise ValueError(
            f"net: expected one without members. Received one of {members_of(net)}."
        )
    norms = normalizations(net)
    if not norms:
        raise ValueError(
            "net: expected batch norms, which members have for themselves. Received "
            f"{net.name!r}, which has none: there is nothing that they would not share."
        )
    inside = _blocks_by_layer(net)

    def with_sets(norm):
        config = {"members": members}
        if id(norm) in inside:
            config["statistics"] = "evaluations"
        if not isinstance(norm, SeriesBatchNormalization):
            norm = SeriesBatchNormalization.of(norm)
        return SeriesBatchNormalization.from_config({**norm.get_config(), **config})

    new = _with_norms(net, dict.fromkeys(map(id, norms), with_sets))
    origins = _fill(norms, _norms(new), inside, lambda old, _, name: getattr(old, name))
    if optimizer is None:
        return new
    weights = new.trainable_variables
    olds = [origins.get(id(weight), weight) for weight in weights]
    return new, carry_over(optimizer, olds, weights, [None] * len(weights))


def with_statistics_apart(net):
    """The net, its members keeping statistics of each of their evaluations.

    Of nets from before 2026-11-26, whose members kept those of cells. They start as
    what their evaluations read before; `recalibrate` the members then.

    Args:
        net: A net with members.
    """
    inside = _blocks_by_layer(net)
    olds = _norms(net)
    shared = [x for x in olds if x.statistics == "cells" and id(x) in inside]

    def changed(norm):
        config = {**norm.get_config(), "statistics": "evaluations"}
        return type(norm).from_config(config)

    new = _with_norms(net, dict.fromkeys(map(id, shared), changed))
    pairs = zip(olds, _norms(new), strict=True)
    twins = [twin for old, twin in pairs if twin is not old]
    _fill(shared, twins, inside, lambda old, member, name: old.set_of(member)[name])
    return new


def _blocks_by_layer(net) -> dict:
    """The block that a layer is part of the rate of, by the id of the layer."""
    return {
        id(layer): block for block in blocks_of(net) for layer in layers_of(block.rate)
    }


def _fill(olds, news, inside, origin_of) -> dict:
    """Gives new norms their values; returns the variables of old ones by the new.

    Args:
        olds, news: Norms, in one order.
        inside: Of `_blocks_by_layer`.
        origin_of: Function of an old norm, a member and a name to a series or variable.
    """
    origins = {}
    for old, new in zip(olds, news, strict=True):
        for member in (None, *new.members):
            for name, series in new.set_of(member).items():
                origin = origin_of(old, member, name)
                origin = getattr(origin, "variable", origin)
                value = finite_values(origin)
                if series.basis.kind == "evaluations":
                    cells = old.set_of(None)["moving_mean"].basis
                    rows = _read_by(member, inside[id(old)], cells, series.basis)
                    value = np.tensordot(rows, value, axes=1)
                series.variable.assign(value.reshape(series.variable.shape))
                origins[id(series.variable)] = origin
    return origins


def _read_by(member, block, cells, pieces) -> np.ndarray:
    """Rows of the basis `cells` that a member's evaluations read, a row a piece."""
    scheme, steps = manifestation_of(member)
    forward = ForwardPass(block.restriction)
    rows = np.zeros((pieces.size, cells.size))
    for n in range(steps):
        for c in sorted(get_scheme(scheme).c):
            time = StageTime(n, c, steps)
            # Pieces behind it, too, until one of them has an evaluation of its own.
            rows[forward.row(pieces, time).index(1) :] = forward.row(cells, time)
    return rows


def reading_own_norms(net):
    """The net, its norms reading the values of the member that it is."""
    found = {member_name(block.scheme, block.steps) for block in blocks_of(net)}
    name = found.pop() if len(found) == 1 else None

    def own(norm):
        return name if name in norm.members else None

    others = [norm for norm in _norms(net) if norm.member != own(norm)]
    if not others:
        return net
    read = dict.fromkeys(map(id, others), lambda norm: norm.reading(own(norm)))
    return _with_norms(net, read)


def _norms(net) -> list[SeriesBatchNormalization]:
    return [x for x in layers_of(net) if isinstance(x, SeriesBatchNormalization)]


def _with_norms(net, replacements):
    """The net with norms replaced, those in the rates of its blocks too."""

    def in_rate(block):
        return block.around(lambda rate: with_layers(rate, replacements, share=True))

    blocks = dict.fromkeys(map(id, blocks_of(net)), in_rate)
    return with_layers(net, blocks | replacements, share=True)
