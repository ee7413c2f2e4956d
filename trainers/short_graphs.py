"""What short graphs of a net need of their own: trains members in several ways.

    python trainers/short_graphs.py --data_dir=/data/tfds
    python trainers/short_graphs.py --nodes=4 --ways=norms \\
        --menu=euler:1,midpoint:1,euler:2,midpoint:2

A small net trains together with shorter graphs of the same kernels: each update trains
the whole, the cheapest member, and one of the other members in turn. --ways says what
members have of their own:

    alone        nothing, and the whole trains alone
    nothing      batch norms are shared
    statistics   moving mean and variance of each evaluation
    norms        scales and shifts of batch norms too, as with trainers/train.py
    horizon      norms, and a factor of the horizon of each block
    reading      norms, and how each evaluation reads theta: K numbers
    correction   norms, and a convolution that corrects each step, after the
                 hypersolvers of Poli et al. 2020, arXiv 2007.09601
    only_correction   statistics, and such a convolution

At the end, statistics are estimated for every graph, and all graphs are scored. Writes
short_graphs.csv and short_graphs.md to --output. oneDNN is on unless
TF_ENABLE_ONEDNN_OPTS=0.
"""

import dataclasses
import math
import pathlib
import statistics
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import onednn, quick_start

    onednn.switch_on()
    quick_start.import_keras()

import keras
import tensorflow as tf

from cnet_tf import ContinuousNet, manifest
from cnet_tf.any_depth import member_read, with_members, with_own_norms
from cnet_tf.bounds import MOST_NODES
from cnet_tf.escaping import line
from cnet_tf.manifestation import recalibrate
from cnet_tf.member_name import evaluations, manifestation_of, member_name
from cnet_tf.model_graph import layers_of
from cnet_tf.series_norm import SeriesBatchNormalization
from cnet_tf.surgery import blocks_of, normalizations, with_blocks
from cnet_tf.tableaus import SCHEMES
from trainers import data as image_data
from trainers import disk, members, results, short_blocks, steps
from trainers.data_option import data_dir
from trainers.loss import MEMBER_TARGETS
from trainers.option_kinds import (
    integer,
    list_of,
    manifestation,
    number,
    one_of,
    text,
)
from trainers.option_table import OptionTable, option, run

_WIDTHS = (8, 16, 32)
_BATCH = 500  # Images per batch when scoring.
_RECALIBRATION_BATCHES = 20
_AUGMENT = "crop_flip"


@dataclasses.dataclass(frozen=True)
class Way:
    """What a member has of its own.

    Attributes:
        norms: Its own part of batch norms: "nothing", "statistics" or "all".
        block: A `ShortBlock` class, None for plain blocks.
        learns: Whether members are trained at all.
    """

    norms: str
    block: type | None = None
    learns: bool = True


WAYS = {
    "alone": Way("nothing", learns=False),
    "nothing": Way("nothing"),
    "statistics": Way("statistics"),
    "norms": Way("all"),
    "horizon": Way("all", short_blocks.LearnedHorizon),
    "reading": Way("all", short_blocks.LearnedReading),
    "correction": Way("all", short_blocks.LearnedCorrection),
    "only_correction": Way("statistics", short_blocks.LearnedCorrection),
}


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of a comparison."""

    ways: tuple[str, ...] = option(
        tuple(WAYS),
        list_of(one_of(WAYS), unique=True, empty=False),
        "What members have of their own; one training for each",
    )
    menu: tuple[tuple[str, int], ...] = option(
        (("euler", 1), ("midpoint", 1)),
        list_of(
            manifestation(),
            unique=True,
            empty=False,
        ),
        "The members",
        "euler:1,midpoint:1",
    )
    scheme: str = option("midpoint", one_of(SCHEMES), "Scheme of the whole net")
    nodes: int = option(
        2,
        integer(1, most=MOST_NODES),
        "K, pieces of theta per block, and N of the whole net",
    )
    member_weight: float = option(
        0.3, number("> 0"), "Weight of each member's loss; that of the whole net's is 1"
    )
    member_targets: str = option(
        "labels",
        one_of(MEMBER_TARGETS),
        "What members learn from, see trainers/train.py",
    )
    seeds: int = option(1, integer(1, most=100), "Trainings per way, seeds 0, 1, ..")
    epochs: int = option(12, integer(1), "Epochs of each training")
    batches_per_epoch: int = option(156, integer(1), "Updates per epoch, at most")
    batch_size: int = option(128, integer(1), "Images per update")
    learning_rate: float = option(
        0.1, number("> 0"), "Initial rate of Nesterov's method, falling linearly to 0"
    )
    dataset: str = option("cifar10", text(), "digits, or a TFDS data set")
    image_size: int | None = option(
        16, integer(1), "Side to resize images to, in pixels"
    )
    examples: int | None = option(
        None, integer(1), "Test images to score", "all of them"
    )
    data_dir: str | None = data_dir()
    output: str = option("short_graphs", text(), "Folder for the results")

    COMBINATIONS = (
        (
            "menu",
            lambda options: (options.scheme, options.nodes) in options.menu,
            lambda options: (
                f"expected members other than the whole, {options.scheme}:"
                f"{options.nodes}. Received it too: leave it out."
            ),
        ),
    )


def main(options):
    """Trains and scores all ways, writes the results and prints them."""
    workspace = disk.Workspace(pathlib.Path(options.output))
    # First, so that an unwritable folder is found before the work.
    with workspace:
        data = image_data.load(
            options.dataset,
            options.data_dir,
            validation_fraction=0.0,
            image_size=options.image_size,
        )
        rows = []
        for way in options.ways:
            for seed in range(options.seeds):
                keras.backend.clear_session()
                rows += scored(way, seed, data, options)
                print(f"\n{markdown(rows)}", file=sys.stderr, flush=True)
        files = {
            "short_graphs.csv": results.csv_of(rows),
            "short_graphs.md": f"{markdown(rows)}\n".encode(),
        }
        workspace.publish(files)
    print(
        f"\n{markdown(rows)}\n\nWritten to {line(workspace.parent)}: {', '.join(files)}"
    )


def scored(way, seed, data, options) -> list[dict]:
    """Trains a net in one way and scores it and its members.

    Returns:
        Rows `{"way", "seed", "manifestation", "evaluations" (of the rate, per block),
        "own" (numbers that only this graph reads), "accuracy"}`, the whole net first.
    """
    keras.utils.set_random_seed(seed)
    net = ContinuousNet(
        len(data.class_names),
        widths=_WIDTHS,
        nodes=options.nodes,
        horizon=options.nodes,
        scheme=options.scheme,
        input_shape=data.image_shape,
    )
    names = [member_name(*one) for one in options.menu]
    net, menu = with_menu(net, names, WAYS[way])
    train(net, menu if WAYS[way].learns else {}, data, seed, options)
    whole = member_name(options.scheme, options.nodes)
    rows = []
    for name, graph in {whole: net, **menu}.items():
        row = {
            "way": way,
            "seed": seed,
            "manifestation": name,
            "evaluations": evaluations(name),
            "own": own_numbers(graph, [net, *menu.values()]),
            "accuracy": _accuracy(graph, data, options),
        }
        rows.append(row)
    return rows


def with_menu(net, names, way) -> tuple:
    """Returns a net and its members, which have of their own what a way gives them.

    Args:
        net: A new net.
        names: Names of manifestations, such as `"euler:1"`.
        way: A `Way`.

    Returns:
        (the net, {name: a model of the same kernels}, cheapest first).
    """
    if way.norms != "nothing":
        net = with_members(net, names)
    menu = {}
    for name in sorted(names, key=evaluations):
        graph = manifest(net, *manifestation_of(name))
        if way.norms == "statistics":
            for norm in normalizations(graph):
                shared = norm.set_of(None)
                norm.gamma, norm.beta = shared["gamma"], shared["beta"]
        menu[name] = with_blocks_as(graph, way.block) if way.block else graph
    return net, menu


def with_blocks_as(graph, kind):
    """Returns a graph of the same weights with blocks of a `ShortBlock` class."""
    blocks = blocks_of(graph)
    return with_blocks(graph, blocks, lambda block, _: kind.of(block), share=True)


def train(net, menu, data, seed, options):
    """Trains a net and its members in place."""
    per_epoch = min(
        options.batches_per_epoch, data.sizes["train"] // options.batch_size
    )
    total = options.epochs * per_epoch
    weights = list(
        {
            id(weight): weight
            for graph in (net, *menu.values())
            for weight in graph.trainable_variables
        }.values()
    )
    rate = keras.optimizers.schedules.PolynomialDecay(options.learning_rate, total, 0.0)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    optimizer.build(weights)
    updates = [
        steps.training_program(
            net,
            optimizer,
            tf.distribute.get_strategy(),
            weights=weights,
            batch_size=options.batch_size,
            weight_decay=0.0,
            smoothing=0.0,
            members=turn,
            member_weight=options.member_weight,
            member_targets=options.member_targets,
        )
        for turn in members.in_turns(menu.values())
    ]
    bar = keras.utils.Progbar(total, unit_name="update")
    done = 0
    for epoch in range(options.epochs):
        batches = image_data.train_batches(
            data, options.batch_size, seed, epoch, _AUGMENT
        )
        for images, labels in batches.take(per_epoch):
            updates[done % len(updates)](images, labels)
            done += 1
            bar.update(done)


def own_numbers(graph, graphs) -> int:
    """Counts the numbers that only this one of several graphs reads."""
    others = set().union(*(_read(one) for one in graphs if one is not graph))
    read = _read(graph)
    return sum(math.prod(read[key].shape) for key in read.keys() - others)


def _read(graph) -> dict:
    """Returns the variables that a graph reads, by id, without the norms of others."""
    norms = [n for n in layers_of(graph) if isinstance(n, SeriesBatchNormalization)]
    held = {id(variable) for norm in norms for variable in norm.variables}
    read = {id(v): v for v in graph.variables if id(v) not in held}
    for norm in norms:
        for series in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance):
            read[id(series.variable)] = series.variable
    return read


def _accuracy(graph, data, options) -> float:
    # A member has its own statistics; what a twin has for itself a block has not.
    graph = graph if member_read(graph) else with_own_norms(graph)
    augmented = image_data.recalibration_batches(data, _AUGMENT, _RECALIBRATION_BATCHES)
    recalibrate(graph, augmented)
    images = image_data.eval_batches(data, "test", _BATCH, options.examples)
    return steps.accuracy_of(steps.scorer(graph)(images))


def markdown(rows) -> str:
    """Returns a table with a row per way and a column per manifestation."""
    lines = []
    for way in dict.fromkeys(row["way"] for row in rows):
        mine, scores = [row for row in rows if row["way"] == way], {}
        for row in mine:
            scores.setdefault(row["manifestation"], []).append(100 * row["accuracy"])
        most = max(row["own"] for row in mine[1:])
        shown = {name: _spread(found) for name, found in scores.items()}
        lines.append({"own": way, **shown, "numbers": str(most)})
    caption = (
        "Test accuracy in %, mean over the seeds, each in brackets; numbers: the most "
        "that a member has of its own."
    )
    return f"{results.table(lines)}\n\n{caption}"


def _spread(values) -> str:
    each = ", ".join(f"{value:.2f}" for value in values)
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({each})"


if __name__ == "__main__":
    run(main, Options)
