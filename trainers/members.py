"""Any-depth training: which manifestations learn beside the net, and when."""

from cnet_tf.any_depth import member_read, members_of, with_members
from cnet_tf.manifestation import manifest
from cnet_tf.member_name import evaluations, manifestation_of, member_name
from trainers.growth import State


def names(options) -> list[str]:
    """The members that --any_depth asks for."""
    return [member_name(*one) for one in options.any_depth]


def start_before(options, epoch: int, net) -> bool:
    """Whether the net gets its members before an epoch."""
    due = options.any_depth and epoch >= options.any_depth_epoch
    return bool(due) and not others(net)


def start(state: State, options) -> State:
    """Gives the net its members; the optimizer goes on."""
    return State(*with_members(state.net, names(options), state.optimizer))


def others(net) -> list[str]:
    """Its members but the one that it reads itself, as a recalibrated net does."""
    return [name for name in members_of(net) if name != member_read(net)]


def members(net) -> dict:
    """The `others` by name, cheapest first; they share the kernels of the net."""
    menu = sorted(others(net), key=evaluations)
    return {name: manifest(net, *manifestation_of(name)) for name in menu}


def turns(net) -> list[tuple]:
    """Who learns beside the net in successive updates, which take turns."""
    return in_turns(members(net).values())


def in_turns(menu) -> list[tuple]:
    """The cheapest member always, and one of the others.

    That is the sandwich rule (Yu and Huang 2019, arXiv 1903.05134), in a fixed order,
    so that a resumed run ends with the same bits.

    Args:
        menu: Members, cheapest first.
    """
    if not menu:
        return [()]
    cheapest, *rest = menu
    return [(cheapest, other) for other in rest] or [(cheapest,)]
