"""Any-depth training: which manifestations train together with the net, and when."""

from cnet_tf.any_depth import member_read, members_of, with_members
from cnet_tf.manifestation import manifest
from cnet_tf.member_name import evaluations, manifestation_of, member_name
from trainers.growth import State


def names(options) -> list[str]:
    """Returns the names of the members that --any_depth asks for."""
    return [member_name(*one) for one in options.any_depth]


def start_before(options, epoch: int, net) -> bool:
    """Whether the net gets its members before this epoch."""
    due = options.any_depth and epoch >= options.any_depth_epoch
    return bool(due) and not others(net)


def start(state: State, options) -> State:
    """Gives the net its members; the optimizer keeps its state."""
    return State(*with_members(state.net, names(options), state.optimizer))


def others(net) -> list[str]:
    """Lists the members, except the one that the net itself reads if recalibrated."""
    return [name for name in members_of(net) if name != member_read(net)]


def members(net) -> dict:
    """Returns the `others` by name, cheapest first; they share the net's kernels."""
    menu = sorted(others(net), key=evaluations)
    return {name: manifest(net, *manifestation_of(name)) for name in menu}


def turns(net) -> list[tuple]:
    """Lists the members that train in each of successive updates, which take turns."""
    return in_turns(members(net).values())


def in_turns(menu) -> list[tuple]:
    """Pairs the cheapest member with each of the others.

    This is the sandwich rule (Yu and Huang 2019, arXiv 1903.05134) in a fixed order,
    so that a resumed run ends with the same bits.

    Args:
        menu: Members, cheapest first.
    """
    if not menu:
        return [()]
    cheapest, *rest = menu
    return [(cheapest, other) for other in rest] or [(cheapest,)]
