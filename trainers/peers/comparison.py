"""Lets peers train the same net in turns, and keeps what was measured.

A turn is some steps and a product of matrices, of one process while all others wait.
So a slow minute of the machine slows all of them, and every peer is compared with the
first one as both were in the same round.
"""

import contextlib
import dataclasses
import pathlib
import time

from trainers.peers.process import PeerError

# Seconds for threads that spin to fall asleep.
PAUSE = 0.1
# A turn is that long, or a step.
TURN_SECONDS = 0.5


@dataclasses.dataclass
class Found:
    """What was measured of a peer on a net.

    Attributes:
        start: Seconds of the parts of the start, by name.
        steps, products: Seconds of a step and of a product of matrices, by turn.
        first: Seconds of a step of the first peer, in the same rounds.
        memory: Bytes at the largest, after the last round.
        size: Parameters and macs, by name.
    """

    start: dict
    steps: list = dataclasses.field(default_factory=list)
    products: list = dataclasses.field(default_factory=list)
    first: list = dataclasses.field(default_factory=list)
    memory: int = 0
    size: dict = dataclasses.field(default_factory=dict)

    def finish(self, process):
        """Asks for what does not change any more; to count a net takes memory."""
        self.memory, self.size = process.ask("memory"), process.ask("size")


def has_room(largest: int) -> bool:
    """Whether memory holds another process like one of so many bytes."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # Not Linux: nobody tells.
        return True
    (free,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return 1024 * int(free) > 1.5 * largest


def compare(starts: dict, rounds: int, tell=print, room=has_room) -> dict[str, Found]:
    """Lets peers take turns.

    Args:
        starts: By name, functions without arguments to a `PeerProcess`.
        rounds: Turns of each peer.
        tell: Told what goes on.
        room: As `has_room`. Peers that have none come later, again with the first one.

    Returns:
        By name; a peer that fails is told and left out.

    Raises:
        PeerError: the first one fails.
    """
    waiting, found = list(starts), {}

    def start(name, stack):
        process = stack.enter_context(starts[name]())
        found[name] = Found(process.start)
        parts = ", ".join(f"{part} {s:.1f} s" for part, s in process.start.items())
        tell(f"  {name}: {parts}")
        return process

    first = waiting.pop(0)
    with contextlib.ExitStack() as kept:
        group = {first: start(first, kept)}
        while True:
            with contextlib.ExitStack() as stack:
                while waiting and (len(group) == 1 or room(_largest(group))):
                    name = waiting.pop(0)
                    with _left_out(name, found, tell):
                        group[name] = start(name, stack)
                for number in range(1, rounds + 1):
                    _round(group, found, tell)
                    tell(f"  round {number} of {rounds}")
                others = [name for name in group if name != first]
                for name in others:
                    process = group.pop(name)
                    with _left_out(name, found, tell):
                        found[name].finish(process)
            if not waiting:
                found[first].finish(group[first])
                return found


def _round(group, found, tell):
    """A turn of each; of those that fail nothing is left in `group` and `found`."""
    first = next(iter(group))
    for name, process in list(group.items()):
        time.sleep(PAUSE)
        if name == first:
            _turn(process, found[name])
            continue
        with _left_out(name, found, tell):
            _turn(process, found[name])
            found[name].first.append(found[first].steps[-1])
        if name not in found:
            del group[name]


def _turn(process, found):
    seconds = []
    while sum(seconds) < TURN_SECONDS:
        seconds.append(process.ask("step"))
    found.steps.append(sum(seconds) / len(seconds))
    found.products.append(process.ask("sgemm"))


@contextlib.contextmanager
def _left_out(name, found, tell):
    try:
        yield
    except PeerError as error:
        found.pop(name, None)
        tell(f"{name}: {error}")


def _largest(group) -> int:
    return max(process.ask("memory") for process in group.values())
