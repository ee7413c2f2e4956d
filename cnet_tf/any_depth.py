"""Any-depth nets: manifestations with batch norms of their own.

The manifestations of a net share its kernels. They cannot share scales, shifts and
moving statistics without loss: one Euler step over the whole depth yields different
moments from eight evaluations of RK4. In an any-depth net each manifestation of a menu,
called a *member*, has its own copy of these numbers (some hundred for each norm). One
set of kernels can then be trained for all of them (`trainers/train.py --any_depth`).
Scales and shifts are series like the weights. Statistics are kept per evaluation,
because the stages of one step see different moments too.

References: Yu and Huang 2019, "Universally slimmable networks", arXiv 1903.05134
(private norms, the sandwich rule, in-place distillation).
"""

import contextlib
from fractions import Fraction

import numpy as np
from keras import ops

from cnet_tf.adapted import settle
from cnet_tf.bounds import MOST_NODES
from cnet_tf.checks import per_block, positive_integer
from cnet_tf.member_name import form_of, manifestation_of, member_name
from cnet_tf.model_graph import layers_of
from cnet_tf.optimizer_slots import carry_over
from cnet_tf.runge_kutta import stage_times
from cnet_tf.series import ForwardPass
from cnet_tf.series_norm import SeriesBatchNormalization, UnsuitableNorm
from cnet_tf.surgery import (
    blocks_of,
    chosen_blocks,
    copied,
    normalizations,
    with_layers,
)


def members_of(net) -> tuple[str, ...]:
    """Returns the manifestations with norms of their own; most nets have none."""
    return next((norm.members for norm in _norms(net)), ())


def member_read(net) -> str | None:
    """Returns the member whose norms a net reads; None: the shared norms."""
    return next((norm.member for norm in _norms(net)), None)


def with_members(net, members, optimizer=None, depth_cells=None):
    """Returns the net with separate batch-norm values for every member.

    These values start as those of the given net; all other layers are shared with it.
    `manifest(net, scheme, steps)` selects them automatically.

    Args:
        net: A built functional or Sequential model with blocks and batch norms. Keras'
            own norms, over the last axis, become `SeriesBatchNormalization`s.
        members: Names of manifestations, `scheme:N`, or `scheme:N,..,N` with an N for
            each block. Existing members keep their values. All other manifestations,
            including the net itself if it is not named, keep reading what they read.
        optimizer: A built `keras.optimizers.Optimizer` of the net, or None.
        depth_cells: See `with_statistics_apart`.

    Returns:
        The new net; with an optimizer, the pair (net, optimizer), whose new optimizer
        copies the state that the old one kept for a norm to each of its members.

    Raises:
        ValueError: no blocks, no batch norms, or a name that is bad, repeated or
            already a member.
    """
    count = len(chosen_blocks(net))
    members = [member_name(*manifestation_of(name)) for name in members]
    if not members or len(set(members)) != len(members):
        raise ValueError(
            f"members: expected names of manifestations, each once. Received {members}."
        )
    for name in members:
        per_block("members", manifestation_of(name)[1], count)
    if known := sorted({*members} & {*members_of(net)}):
        raise ValueError(
            f"members: expected new ones. Received {known}, which the net already has."
        )
    if not normalizations(net):
        raise ValueError(
            "net: expected batch norms, of which every member gets its own. Received "
            f"{net.name!r}, which has none: its members would share everything."
        )
    new, origins = _with_norms_of_its_own(net, members, depth_cells)
    if optimizer is None:
        return new
    weights = new.trainable_variables
    olds = [origins.get(id(weight), weight) for weight in weights]
    return new, carry_over(optimizer, olds, weights, [None] * len(weights))


def menu_net(net, members, depth_cells=None):
    """Returns a net with these members; if it is one itself, it reads its own norms.

    Args:
        net: A built net.
        members, depth_cells: See `with_members`; without members the net itself is
            returned.
    """
    if not members:
        return net
    return reading_own_norms(with_members(net, members, depth_cells=depth_cells))


def with_statistics_apart(net, depth_cells=None):
    """Returns the net with members that keep statistics of each evaluation.

    Members of nets from before 2026-11-26 kept statistics per cell. The new statistics
    start as what each evaluation read before; `recalibrate` the members afterwards.

    All other manifestations share one set of norms. Its statistics can be functions of
    depth, finer than theta: moments of the state along the solution of the equation,
    which every manifestation with short steps follows
    (`manifestation.recalibrated_along`). Estimate them with at least two evaluations
    per cell: a channel that is dead at one evaluation has no variance there, and would
    be magnified at nearby depths.

    Args:
        net: A built net with batch norms.
        depth_cells: Number of equal cells of depth. Default: the net's own; most nets
            keep statistics for the cells of theta.

    Raises:
        ValueError: depth_cells < 1, or too many.
    """
    return _with_norms_of_its_own(net, depth_cells=depth_cells)[0]


def share_scales(net):
    """Copies the scales and shifts that a net reads as a member to the shared norms.

    These were trained with the net, while nothing read the shared ones. In place.
    """
    for norm in _norms(net):
        if norm.member is not None:
            shared = norm.set_of(None)
            for name, series in norm.set_of(norm.member).items():
                if series.basis == shared[name].basis and series.variable.trainable:
                    shared[name].variable.assign(series.variable)


def with_own_norms(net):
    """Returns a twin with the outputs of the net and batch norms of its own.

    The twin is a member, so its norms in blocks keep statistics of each evaluation.
    Where blocks differ in scheme, or a norm cannot have members, the twin shares
    nothing with the net and keeps statistics per cell.

    Args:
        net: A built functional or Sequential model.
    """
    name = _manifestation(net)
    if name is not None:
        with contextlib.suppress(UnsuitableNorm):
            return reading_own_norms(_with_norms_of_its_own(net, [name])[0])
    twin = copied(net)
    twin.set_weights(net.get_weights())
    settle(twin)
    return twin


def _manifestation(net) -> str | None:
    """Returns the name of a net's own manifestation; None if its schemes differ."""
    schemes = {scheme for scheme, _ in _forms(net)}
    if len(schemes) != 1:
        return None
    return member_name(*schemes, [steps for _, steps in _forms(net)])


def _forms(net) -> list[tuple]:
    return [(block.scheme, block.steps) for block in blocks_of(net)]


def with_series_norms(net):
    """Returns the net with series norms, whose statistics replicas average.

    Those of Keras' own norms differ from replica to replica. The net itself, if it has
    none.

    Args:
        net: A built functional or Sequential model.

    Raises:
        UnsuitableNorm: a norm cannot become a series norm.
    """
    norms = normalizations(net)
    if all(isinstance(norm, SeriesBatchNormalization) for norm in norms):
        return net
    return _with_norms_of_its_own(net)[0]


def _with_norms_of_its_own(net, fresh=(), depth_cells=None) -> tuple:
    """Returns the net with norms that it shares with no other net, for all members.

    Args:
        net: A built net.
        fresh: Members that start with the values the net reads; others keep theirs.
        depth_cells: See `with_statistics_apart`.

    Returns:
        (net, origins): origins maps the id of each variable of its norms to the
        variable whose values it started with.
    """
    if depth_cells is not None:
        # Checked here too, because Keras wraps errors that the norm raises.
        depth_cells = positive_integer("depth_cells", depth_cells, MOST_NODES)
    blocks = blocks_of(net)
    inside = {
        id(layer): i
        for i, block in enumerate(blocks)
        for layer in layers_of(block.rate)
    }

    def with_sets(norm):
        series = norm
        if not isinstance(norm, SeriesBatchNormalization):
            series = SeriesBatchNormalization.of(norm)
        config = series.get_config()
        config["members"] = list(dict.fromkeys([*series.members, *fresh]))
        if id(norm) in inside:
            config |= {"statistics": "evaluations", "block": inside[id(norm)]}
            if depth_cells is not None:
                config["depth_cells"] = depth_cells
        return SeriesBatchNormalization.from_config(config)

    olds = normalizations(net)
    new = _with_norms(net, dict.fromkeys(map(id, olds), with_sets))
    origins = {}
    for old, norm in zip(olds, normalizations(new), strict=True):
        if norm is old:
            raise UnsuitableNorm(
                "net: expected batch norms in layers that Keras can rearrange. "
                f"Received {norm.name!r} within another layer: use a functional model "
                "there."
            )
        kept = {None, *getattr(old, "members", ())} - set(fresh)
        for member in (None, *norm.members):
            for name, series in norm.set_of(member).items():
                apart = isinstance(old, SeriesBatchNormalization) and member in kept
                origin = old.set_of(member)[name] if apart else getattr(old, name)
                _start(series, origin, member, norm.block, blocks)
                origins[id(series.variable)] = getattr(origin, "variable", origin)
    return new, origins


def _start(series, origin, member, number, blocks):
    """Gives a series the values of another series or of a Keras variable."""
    value = ops.convert_to_numpy(getattr(origin, "variable", origin))
    basis = getattr(origin, "basis", series.basis)
    if series.basis != basis:
        rows = (
            _read_by(member, number, blocks, basis)
            if member
            else _middles(series, basis)
        )
        value = np.tensordot(rows, value, 1)
    series.variable.assign(value.reshape(series.variable.shape))


def _read_by(member, number, blocks, cells) -> np.ndarray:
    """Returns the row of the basis `cells` that each evaluation of a member reads."""
    scheme, steps = form_of(member, number)
    forward = ForwardPass(blocks[number].restriction)
    times = [time for n in range(steps) for time in stage_times(scheme, n, steps)]
    return np.array([forward.row(cells, time) for time in times], "float64")


def _middles(series, cells) -> np.ndarray:
    """Returns rows of the basis `cells` at the middle of each cell of a series."""
    size = series.basis.size
    rows = [cells.weights(Fraction(2 * j + 1, 2 * size)) for j in range(size)]
    return np.array(rows, "float64")


def reading_own_norms(net, before=None):
    """Returns the net with norms that read the values of its own member.

    Args:
        net: A built net.
        before: The net that it is a manifestation of. If neither scheme nor N has
            changed, norms without values for this manifestation keep reading what they
            read there.
    """
    name = _manifestation(net)
    same = before is not None and _forms(net) == _forms(before)

    def own(norm):
        return name if name in norm.members else norm.member if same else None

    return _with_norms(net, _reading(net, own))


def reading_shared_norms(net):
    """Returns the net with norms that read the shared values, of no member."""
    return _with_norms(net, _reading(net, lambda norm: None))


def block_reading_own_norms(block):
    """Returns a block that reads norms as if all blocks had its scheme and N."""
    name = member_name(block.scheme, block.steps)

    def own(norm):
        return name if name in norm.members else None

    return _block_with_norms(block, _reading(block, own))


def _reading(part, own) -> dict:
    """Maps the `id` of norms that do not read the member own(norm) to twins that do."""
    others = [norm for norm in _norms(part) if norm.member != own(norm)]
    return dict.fromkeys(map(id, others), lambda norm: norm.reading(own(norm)))


def _norms(net) -> list[SeriesBatchNormalization]:
    return [x for x in layers_of(net) if isinstance(x, SeriesBatchNormalization)]


def _with_norms(net, replacements):
    """Returns the net with norms replaced, including those in its blocks' rates."""
    if not replacements:
        return net
    blocks = dict.fromkeys(
        map(id, blocks_of(net)), lambda block: _block_with_norms(block, replacements)
    )
    return with_layers(net, blocks | replacements, share=True)


def _block_with_norms(block, replacements):
    if not replacements:
        return block
    return block.around(lambda rate: with_layers(rate, replacements, share=True))
