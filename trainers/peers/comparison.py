"""Lets peers train the same net in turns, and keeps the measurements.

In a turn one process makes some steps and a matrix product while all others wait.
So a slow minute of the machine slows all of them, and every peer is compared with the
first one within the same round.
"""

import contextlib
import dataclasses
import pathlib
import time

from trainers.peers.process import PeerError

# Seconds for spinning threads to fall asleep.
PAUSE = 0.1
# A turn makes steps for at least this long.
TURN_SECONDS = 0.5


@dataclasses.dataclass
class Found:
    """Measurements of a peer on a net.

    Attributes:
        start: Seconds of the parts of the start, by name.
        steps, products: Seconds per step and per matrix product, by turn.
        first: Seconds per step of the first peer, in the same rounds.
        memory: Peak bytes, after the last round.
        size: Parameters and macs, by name.
    """

    start: dict
    steps: list = dataclasses.field(default_factory=list)
    products: list = dataclasses.field(default_factory=list)
    first: list = dataclasses.field(default_factory=list)
    memory: int = 0
    size: dict = dataclasses.field(default_factory=dict)

    def finish(self, process):
        """Asks for the final values, memory first: counting a net takes memory."""
        self.memory, self.size = process.ask("memory"), process.ask("size")


def has_room(largest: int) -> bool:
    """Whether memory has room for a process half as large again as the largest."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # Not Linux: unknown.
        return True
    (free,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return 1024 * int(free) > 1.5 * largest


def compare(starts: dict, rounds: int, tell=print, room=has_room) -> dict[str, Found]:
    """Lets peers take turns.

    Args:
        starts: By name, functions without arguments that return a `PeerProcess`.
        rounds: Turns of each peer.
        tell: Function that reports progress.
        room: As `has_room`. Peers without room run later, again beside the first one.

    Returns:
        `Found` by name; a peer that fails is reported and left out.

    Raises:
        PeerError: the first peer fails.
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
    """Gives each peer a turn; removes those that fail from `group` and `found`."""
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
