"""Compares the training speed of several nets, or of this and other libraries.

    python trainers/benchmark.py --presets=resnet20,cifar10_2-2-2_rk4 --rounds=20
    python trainers/benchmark.py --presets=cifar10_2-2-2_rk4 --nodes=2,16 \\
        --variants=graph,loop

times nets of this package on the same random batch, in one process. Start is the time
to build a net, trace its step and run it once. The nets then take turns, round by
round, so that a slow minute of the machine affects them all. oneDNN is on, unless
TF_ENABLE_ONEDNN_OPTS=0.

    python trainers/benchmark.py --peers
    python trainers/benchmark.py --peers --nodes=1,2,4,8,16,32

also trains the same nets in PyTorch, torchdiffeq, JAX and plain Keras, each in its own
process and environment, in turns, and writes peers.md, .csv, .json and .png to
`--output`; with --nodes it measures start and memory over K instead (starts.*).
The first time, it builds the environments below build/peers, which needs a package
index and takes minutes. Results are compared with the last table recorded on the same
kind of machine (`--record`).
`--only=cnet_tf,pytorch,convolutions` adds a bound: the convolutions of our nets alone.

    python trainers/benchmark.py --commands

times the commands from one epoch of digits to the report, and writes commands.*.
"""

import dataclasses
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

from cnet_tf.bounds import MOST_NODES
from cnet_tf.escaping import line
from cnet_tf.presets import PRESETS
from trainers import command_times, disk, own_speed
from trainers.environment import revision
from trainers.option_kinds import integer, list_of, one_of, switch, text
from trainers.option_table import OptionTable, option, run
from trainers.options import PRECISIONS
from trainers.peers import figures, machine, picture, record
from trainers.peers import run as peers
from trainers.peers.table import NETS, PEERS, STARTS, USUAL

OWN = ("resnet20", "cifar10_2-2-2_euler", "cifar10_2-2-2_rk4")
# Presets whose start is measured over K.
STARTED = ("cifar10_2-2-2_rk4",)


def _of_peers(name):
    """Returns the combination: that option needs --peers."""
    return (
        name,
        lambda options: getattr(options, name) and not options.peers,
        lambda options: "expected --peers with it. Received none: add --peers.",
    )


def _not_of_peers(name, usual):
    """Returns the combination: --peers allows only the usual value of that option."""
    return (
        name,
        lambda options: options.peers and getattr(options, name) != usual,
        lambda options: (
            f"expected {usual!r} with --peers. Received {getattr(options, name)!r}."
        ),
    )


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a benchmark."""

    COMBINATIONS = (
        *map(_of_peers, ("only", "record")),
        _not_of_peers("precision", "float32"),
        _not_of_peers("variants", ("graph",)),
        _not_of_peers("commands", False),
        (
            "presets",
            lambda options: options.peers and set(options.presets or ()) - set(NETS),
            lambda options: (
                f"expected any of {', '.join(NETS)} with --peers. Received "
                f"{','.join(options.presets)!r}: peers have no other nets."
            ),
        ),
        (
            "presets",
            lambda options: (
                options.peers and options.nodes and len(options.presets or STARTED) > 1
            ),
            lambda options: (
                "expected one, whose scheme is used, with --peers and --nodes. "
                f"Received {','.join(options.presets)!r}."
            ),
        ),
        (
            "record",
            lambda options: options.record and options.nodes,
            lambda options: (
                "expected no --nodes with it. Received both: leave one out."
            ),
        ),
    )

    presets: tuple[str, ...] | None = option(
        None,
        list_of(one_of(PRESETS), empty=False),
        "Nets to time",
        f"{','.join(OWN)}; with --peers {','.join(NETS)}; with --nodes too "
        f"{','.join(STARTED)}",
    )
    nodes: tuple[int, ...] = option(
        (),
        list_of(integer(1, most=MOST_NODES)),
        "K of the ContinuousNets, and N with it; each is timed",
        "each preset's",
    )
    precision: str = option("float32", one_of(PRECISIONS), "Arithmetic of the layers")
    batch_size: int = option(128, integer(1), "Images per step")
    rounds: int | None = option(
        None, integer(1), "Timed turns of each net", "10; with --peers 5"
    )
    variants: tuple[str, ...] = option(
        ("graph",),
        list_of(one_of(own_speed.VARIANTS), empty=False),
        "Ways to run a step: graph (TensorFlow's kernels), xla (all of it compiled), "
        "loop (the steps of a block are a loop in the graph)",
    )
    peers: bool = option(False, switch(), "Compare with other libraries")
    commands: bool = option(False, switch(), "Time the commands of this repository")
    only: tuple[str, ...] = option(
        (),
        list_of(one_of(PEERS), unique=True),
        "Peers to compare; the first is the reference for the others",
        f"{','.join(USUAL)}; with --nodes {','.join(STARTS)}",
    )
    output: str = option(
        "benchmarks", text(), "Folder for the tables of --peers and --commands"
    )
    record: bool = option(
        False,
        switch(),
        "Record the table of --peers as the one for this kind of machine, in "
        "trainers/peers/record.json",
    )


def main(options):
    """Measures, prints and writes what the options ask for."""
    if not (options.peers or options.commands):
        own_speed.print_table(options.presets or OWN, options.rounds or 10, options)
        return
    measure = _commands
    if options.peers:
        measure = _starts if options.nodes else _speeds
    with disk.Workspace(pathlib.Path(options.output)) as workspace:
        measure(options, workspace)


def _speeds(options, workspace):
    """Compares the speed of peers, which take turns."""
    rows = peers.training(
        options.presets or tuple(NETS),
        options.only or USUAL,
        options.rounds or 5,
        options.batch_size,
    )
    _write(workspace, "peers", rows, figures.TRAINING, picture.speeds)
    kind = machine.kind()
    print(record.compared(rows, kind))
    if options.record:
        record.record(rows, kind, revision())
        print("Recorded.")


def _starts(options, workspace):
    """Measures start and memory over K."""
    (net,) = options.presets or STARTED
    rows = peers.starting(
        options.nodes, NETS[net]["scheme"], options.only or STARTS, options.batch_size
    )
    _write(workspace, "starts", rows, figures.STARTING, picture.starts)


def _commands(options, workspace):
    """Times the commands in turn."""
    rows = command_times.rows_of(command_times.COMMANDS)
    _write(workspace, "commands", rows, command_times.COLUMNS)


def _write(workspace, name, rows, columns, draw=None):
    drawn = draw(rows) if draw else None
    workspace.publish(peers.contents(name, rows, columns, drawn))
    print(f"\n{figures.markdown(rows, columns)}\n\n{peers.note()}")
    print(f"Wrote {name}.* to {line(workspace.parent)}")


if __name__ == "__main__":
    run(main, Options)
