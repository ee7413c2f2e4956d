"""Any-depth nets: manifestations with batch norms of their own.

The manifestations of a net share its kernels. What they cannot share without loss are
scales, shifts and moving statistics: a step of Euler over the whole depth hands on
other moments than eight evaluations of RK4. In an any-depth net every manifestation of
a menu, its *member*, has those numbers for itself (some hundred for each norm), so that
one set of kernels can be trained for all of them (`trainers/train.py --any_depth`).

References: Yu and Huang 2019, "Universally slimmable networks", arXiv 1903.05134
(private norms, the sandwich rule, in-place distillation).
"""

from cnet_tf.checks import finite_values
from cnet_tf.lifted_layer import layers_of
from cnet_tf.optimizer_slots import carry_over
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.surgery import blocks_of, chosen_blocks, normalizations, with_layers
from cnet_tf.tableaus import get_scheme


def member_name(scheme: str, steps: int) -> str:
    """The name of a manifestation: `"euler:1"`."""
    return f"{get_scheme(scheme).name}:{steps}"


def manifestation_of(name: str) -> tuple[str, int]:
    """(scheme, N) of a name.

    Raises:
        ValueError: it is not `scheme:N` with a known scheme and N >= 1.
    """
    scheme, _, steps = str(name).partition(":")
    if not steps.isascii() or not steps.isdigit() or int(steps) < 1:
        raise ValueError(
            f"members: expected scheme:N, such as 'euler:1'. Received {name!r}."
        )
    return get_scheme(scheme).name, int(steps)


def evaluations(name: str) -> int:
    """Evaluations of the rate in a block of that manifestation, its cost."""
    scheme, steps = manifestation_of(name)
    return get_scheme(scheme).stages * steps


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

    def with_sets(norm):
        if not isinstance(norm, SeriesBatchNormalization):
            norm = SeriesBatchNormalization.of(norm)
        config = {**norm.get_config(), "members": members}
        return SeriesBatchNormalization.from_config(config)

    new = _with_norms(net, dict.fromkeys(map(id, norms), with_sets))
    origins = {}
    for old, twin in zip(norms, _norms(new), strict=True):
        for member in (None, *members):
            for name, series in twin.set_of(member).items():
                origin = getattr(old, name)
                origin = getattr(origin, "variable", origin)
                series.variable.assign(
                    finite_values(origin).reshape(series.variable.shape)
                )
                origins[id(series.variable)] = origin
    if optimizer is None:
        return new
    weights = new.trainable_variables
    olds = [origins.get(id(weight), weight) for weight in weights]
    return new, carry_over(optimizer, olds, weights, [None] * len(weights))


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
