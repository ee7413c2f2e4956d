"""Members with numbers of their own: what each way is, and how ways are compared."""

import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from markdown_tables import cells_of

from cnet_tf import ContinuousNet, manifest
from cnet_tf.member_name import manifestation_of
from cnet_tf.surgery import blocks_of, normalizations
from trainers import short_blocks, short_graphs, steps
from trainers.errors import OptionError
from trainers.loss import training_loss

NAMES = ["midpoint:1", "euler:1"]
WITH_BLOCKS = [name for name, way in short_graphs.WAYS.items() if way.block]
OPTIONS = short_graphs.Options(
    epochs=1,
    batches_per_epoch=2,
    batch_size=8,
    dataset="digits",
    image_size=None,
    examples=20,
)


def made(horizon=2):
    return ContinuousNet(
        3,
        widths=(4,),
        strides=(1,),
        nodes=2,
        horizon=horizon,
        stitch=1,
        scheme="midpoint",
        input_shape=(6, 6, 1),
    )


@pytest.fixture
def net():
    return made()


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(6, 6, 6, 1)).astype("float32")


def with_blocks_of(net, kind, form, values):
    """A manifestation in blocks of a kind whose own weights have these values."""
    graph = short_graphs.with_blocks_as(manifest(net, *form), kind)
    for block in blocks_of(graph):
        for weight, value in zip(own_weights(block), values(block), strict=True):
            weight.assign(value)
    return graph


def own_weights(block):
    shared = {id(weight) for weight in block.rate.weights}
    return [weight for weight in block.weights if id(weight) not in shared]


@pytest.mark.parametrize("way", short_graphs.WAYS)
def test_every_way_starts_as_the_plain_manifestation(net, images, way):
    whole, menu = short_graphs.with_menu(net, NAMES, short_graphs.WAYS[way])
    np.testing.assert_array_equal(whole(images), net(images))
    assert list(menu) == ["euler:1", "midpoint:1"]
    for name, graph in menu.items():
        plain = manifest(net, *manifestation_of(name))
        np.testing.assert_allclose(graph(images), plain(images), atol=1e-5)


@pytest.mark.parametrize("way", WITH_BLOCKS)
def test_what_a_member_has_for_itself_changes_no_other(net, images, way):
    whole, menu = short_graphs.with_menu(net, NAMES, short_graphs.WAYS[way])
    first, second = menu.values()
    own = [weight for block in blocks_of(first) for weight in own_weights(block)]
    with tf.GradientTape() as tape:
        total, *_ = training_loss(
            whole,
            images,
            np.arange(6) % 3,
            smoothing=0.0,
            members=[first],
            member_weight=1.0,
            member_targets="labels",
        )
    # Now, as statistics have moved.
    before = [graph(images).numpy() for graph in (whole, second)]
    # Now, as statistics have moved.
    before = [graph(images).numpy() for graph in (whole, second)]
    for weight, slope in zip(
        own, tape.gradient(total, [w.value for w in own]), strict=True
    ):
        assert np.abs(slope).max() > 0, weight.path
        weight.assign_add(slope)
    changed = first(images).numpy()
    assert np.abs(changed - manifest(whole, "euler", 1)(images)).max() > 1e-3
    for graph, logits in zip((whole, second), before, strict=True):
        np.testing.assert_array_equal(graph(images), logits)


def test_own_numbers_are_counted(net):
    """Of a norm of c channels a scale and a shift for each of K pieces, and moments."""
    counts = {}
    for name, way in short_graphs.WAYS.items():
        whole, menu = short_graphs.with_menu(net, NAMES, way)
        graphs = [whole, *menu.values()]
        counts[name] = [short_graphs.own_numbers(graph, graphs) for graph in graphs]
    assert counts["alone"] == counts["nothing"] == [0, 0, 0]
    inside = {id(n) for b in blocks_of(whole) for n in normalizations(b)}
    norms = [
        (norm.gamma.variable.shape[-1], id(norm) in inside)
        for norm in normalizations(whole)
    ]
    moments = [2 * sum(c * (n if held else 1) for c, held in norms) for n in (1, 2)]
    scales = 2 * sum(c * (2 if held else 1) for c, held in norms)
    assert counts["statistics"][1:] == moments
    assert counts["norms"][1:] == [scales + of for of in moments]

    def norms_of(name):
        own = short_graphs.WAYS[name].norms
        return {"all": "norms"}.get(own, own)

    more = {
        name: [
            found - plain
            for found, plain in zip(counts[name], counts[norms_of(name)], strict=True)
        ]
        for name in WITH_BLOCKS
    }
    assert more == {
        "horizon": [0, 1, 1],
        "reading": [0, 2, 2 * 2],
        "correction": [0, 2 * 9 * 4, 2 * 9 * 4],
        "only_correction": [0, 2 * 9 * 4, 2 * 9 * 4],
    }


def test_a_learned_horizon_is_a_horizon(net, images):
    longer = made(horizon=3)
    longer.set_weights(net.get_weights())
    found = with_blocks_of(
        net, short_blocks.LearnedHorizon, ("midpoint", 2), lambda block: [1.5]
    )
    np.testing.assert_allclose(
        found(images), manifest(longer, "midpoint", 2)(images), atol=1e-5
    )


def test_a_learned_reading_can_be_a_quadrature(net, images):
    """heun2 by quadrature reads one half of theta in each of its stages."""
    found = with_blocks_of(
        net, short_blocks.LearnedReading, ("heun2", 1), lambda block: [np.eye(2)]
    )
    expected = manifest(net, "heun2", 1, restriction="quadrature")
    np.testing.assert_allclose(found(images), expected(images), atol=1e-5)
    assert np.abs(found(images) - manifest(net, "heun2", 1)(images)).max() > 1e-3


def test_a_learned_correction_is_added_to_each_step(net, images):
    """With g = k_1 / 2 steps of Euler, h = 1, are steps of h = 3/2."""
    longer = made(horizon=3)
    longer.set_weights(net.get_weights())

    def half_of_the_slope(block):
        kernel = np.zeros(own_weights(block)[0].shape)
        kernel[1, 1] = 0.5
        return [0 * kernel, kernel]

    found = with_blocks_of(
        net, short_blocks.LearnedCorrection, ("euler", 2), half_of_the_slope
    )
    np.testing.assert_allclose(
        found(images), manifest(longer, "euler", 2)(images), atol=1e-5
    )
    # g = x doubles the state of each step: with a rate of zero x(1) = 4 x(0).
    block = blocks_of(found)[0]
    state = np.random.default_rng(1).normal(size=(2, 6, 6, 4)).astype("float32")
    for weight in block.rate.weights:
        weight.assign(0 * weight)
    kernel = np.zeros(own_weights(block)[0].shape)
    kernel[1, 1] = 1
    for weight, value in zip(own_weights(block), [kernel, 0 * kernel], strict=True):
        weight.assign(value)
    np.testing.assert_allclose(block(state), 4 * state, rtol=1e-5)


@pytest.mark.parametrize(("way", "learning"), [("alone", 0), ("nothing", 2)])
def test_only_alone_members_do_not_learn(digits, monkeypatch, way, learning):
    trained = []
    monkeypatch.setattr(
        short_graphs, "train", lambda net, menu, *_: trained.append(menu)
    )
    monkeypatch.setattr(short_graphs, "_accuracy", lambda *_: 0.5)
    rows = short_graphs.scored(way, 0, digits, OPTIONS)
    assert [len(menu) for menu in trained] == [learning]
    scored = [row["manifestation"] for row in rows]
    assert scored == ["midpoint:2", "euler:1", "midpoint:1"]


def test_the_update_moves_what_every_graph_reads(net, images):
    whole, menu = short_graphs.with_menu(net, NAMES, short_graphs.WAYS["reading"])
    own = [w for block in blocks_of(menu["euler:1"]) for w in own_weights(block)]
    found, _ = steps.gradients(
        whole,
        images,
        np.arange(6) % 3,
        batch_size=6,
        weight_decay=0.0,
        weights=own,
        smoothing=0.0,
        members=menu.values(),
        member_weight=1.0,
    )
    assert all(np.abs(slope).max() > 0 for slope in found)


@pytest.fixture(scope="module")
def written(digits_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    options = dataclasses.replace(
        OPTIONS,
        ways=("nothing", "reading"),
        seeds=2,
        data_dir=digits_dir,
        output=str(folder),
    )
    short_graphs.main(options)
    return folder


def test_the_whole_is_no_member():
    with pytest.raises(OptionError, match="--menu: .* the whole, midpoint:2"):
        dataclasses.replace(OPTIONS, menu=(("euler", 1), ("midpoint", 2)))


@pytest.mark.slow
def test_the_program_writes_a_row_a_graph_and_seed(written):
    rows = list(csv.DictReader((written / "short_graphs.csv").open()))
    assert len(rows) == 2 * 2 * 3
    assert {row["seed"] for row in rows} == {"0", "1"}
    text = (written / "short_graphs.md").read_text()
    header = ["own", "midpoint:2", "euler:1", "midpoint:1", "numbers"]
    assert cells_of(text)[0] == header
    values = [float(r["accuracy"]) for r in rows if r["way"] == "reading"][::3]
    assert (
        f"{50 * sum(values):.2f} ({100 * values[0]:.2f}, {100 * values[1]:.2f})" in text
    )
