"""Manifestations, refinement and recalibration of a user's own Keras models."""

import keras
import numpy as np
import pytest

from cnet_tf import ContinuousBlock, manifest, project, recalibrate, refine
from cnet_tf.manifestation import statistics
from cnet_tf.model_graph import layers_of

L = keras.layers
SHAPE = (8, 8, 3)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def unit(width):
    return keras.Sequential(
        [L.Conv2D(width, 3, padding="same"), L.BatchNormalization(), L.ReLU()]
    )


def randomize(model):
    rng = np.random.default_rng(1)
    for v in model.variables:
        v.assign(rng.uniform(0.1, 0.6, size=v.shape))
    return model


def functional():
    """A nested model, blocks of different K, N, basis and scheme, two outputs."""
    x = inner = keras.Input((None, None, 4))
    settings = {"basis": "hat", "scheme": "midpoint", "restriction": "point"}
    x = ContinuousBlock(unit(4), nodes=3, name="b1", **settings)(x)
    body = keras.Model(inner, L.BatchNormalization(name="plain")(x), name="body")
    x = inputs = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, name="stem")(x)
    x = ContinuousBlock(unit(4), nodes=2, steps=4, scheme="rk4", name="b0")(x)
    pooled = L.GlobalAveragePooling2D()(body(x))
    outputs = [L.Dense(2, name="first")(pooled), L.Dense(3, name="second")(pooled)]
    return randomize(keras.Model(inputs, outputs, name="net"))


def sequential():
    return randomize(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                L.Conv2D(4, 3, name="stem"),
                ContinuousBlock(unit(4), nodes=2, name="b0"),
                L.GlobalAveragePooling2D(),
                L.Dense(2, name="head"),
            ]
        )
    )


MODELS = {"functional": functional, "sequential": sequential}


def outputs(model, x):
    return [np.array(y) for y in keras.tree.flatten(model(x))]


def block(model, name):
    (found,) = [x for x in layers_of(model) if x.name == name]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_manifestation_shares_every_variable(name):
    model = MODELS[name]()
    twin = manifest(model, scheme="euler", steps=5)
    mine, other = ({v.path: v for v in m.variables} for m in (model, twin))
    assert mine.keys() == other.keys() and all(mine[k] is other[k] for k in mine)
    assert (block(twin, "b0").scheme, block(twin, "b0").steps) == ("euler", 5)
    assert block(model, "b0").scheme == "rk4"
    x = normal((2, *SHAPE))
    assert np.abs(outputs(twin, x)[0] - outputs(model, x)[0]).max() > 1e-6
    back = manifest(twin, scheme="rk4", steps=block(model, "b0").steps, blocks=["b0"])
    assert (block(back, "b0").scheme, block(back, "b0").steps) == (
        "rk4",
        block(model, "b0").steps,
    )


@pytest.mark.parametrize("name", MODELS)
def test_refinement_of_the_basis_leaves_the_logits(name):
    model = MODELS[name]()
    deep = refine(model, 2, steps_factor=1)
    x = normal((2, *SHAPE))
    for a, b in zip(outputs(model, x), outputs(deep, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert [x.name for x in layers_of(deep)] == [x.name for x in layers_of(model)]
    assert block(deep, "b0").nodes == 2 * block(model, "b0").nodes
    assert not {id(v) for v in deep.variables} & {id(v) for v in model.variables}


def test_blocks_are_refined_by_name_and_number():
    model = functional()
    deep = refine(model, 4, blocks=["b1"])
    assert [block(deep, n).nodes for n in ("b0", "b1")] == [2, 9]
    assert [block(deep, n).steps for n in ("b0", "b1")] == [4, 8]
    deep = refine(model, (2, 3), steps_factor=(1, 2))
    assert [block(deep, n).nodes for n in ("b0", "b1")] == [4, 7]
    assert [block(deep, n).steps for n in ("b0", "b1")] == [4, 4]
    small = project(model, basis="constant", nodes=1, blocks=["b1"])
    assert block(small, "b1").basis.key == ("constant", 1)
    assert block(small, "b0").basis.key == ("constant", 2)


def test_frozen_parts_stay_frozen():
    model = functional()
    block(model, "b0").trainable = False
    block(model, "body").trainable = False
    names = [v.path for v in model.trainable_variables]
    assert (
        sorted(n.split("/")[0] for n in names)
        == ["first"] * 2 + ["second"] * 2 + ["stem"] * 2
    )
    deep = refine(model)
    assert [v.path for v in deep.trainable_variables] == names


def test_training_goes_on_under_fit_with_its_momentum():
    """One more update after growth is the refined one more update: K -> 2K repeats."""
    model = sequential()
    x, y = normal((8, *SHAPE)), normal((8, 2))
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "mse")
    model.fit(x, y, epochs=2, verbose=0)
    deep, optimizer = refine(model, steps_factor=1, optimizer=model.optimizer)
    deep.compile(optimizer, "mse")
    kernel = block(deep, "b0").series[0].variable
    before = kernel.numpy()
    np.testing.assert_array_equal(before[0], before[1])
    deep.fit(x, y, epochs=1, verbose=0)
    assert int(optimizer.iterations) == 3
    assert np.all(np.any(kernel.numpy() != before, axis=(1, 2, 3, 4)))


def test_recalibration_sees_norms_along_depth_and_plain_ones_frozen_or_not():
    data = [normal((8, *SHAPE), seed) for seed in range(3)]
    free, frozen = functional(), functional()
    frozen.trainable = False
    before = statistics(free)
    assert len(before) == 6
    assert recalibrate(free, data) == recalibrate(frozen, data) == 3
    for old, a, b in zip(before, statistics(free), statistics(frozen), strict=True):
        assert np.all(a != old)
        np.testing.assert_array_equal(a, b)
    assert frozen.trainable_variables == []


def test_features_of_a_block_can_be_read_after_it_was_manifested():
    model = functional()
    manifest(model, "euler", 1)
    features = keras.Model(model.inputs, block(model, "b0").output)
    assert features(normal((2, *SHAPE))).shape == (2, 6, 6, 4)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.block = ContinuousBlock(L.Dense(3), nodes=2)

    def call(self, x):
        return self.block(x)


@pytest.mark.parametrize("change", [manifest, refine, project])
@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (Subclassed, {}, "model: expected a functional or Sequential.*'mine'"),
        (
            lambda: keras.Sequential([ContinuousBlock(L.Dense(3))], name="open"),
            {},
            "model: expected a built model. Received 'open'",
        ),
        (
            lambda: keras.Sequential([keras.Input((3,)), L.Dense(3)], name="flat"),
            {},
            "model: expected one with continuous blocks. Received 'flat'",
        ),
        (sequential, {"blocks": ["b7"]}, "blocks: expected names of b0. Received"),
        (sequential, {"blocks": []}, "blocks: expected names of b0. Received"),
    ],
)
def test_refusals(change, model, arguments, message):
    with pytest.raises(ValueError, match=message):
        change(model(), **arguments)


def test_operations_between_layers_stay():
    """Functional models hold plain operations too: `x + y`, those of `keras.ops`."""

    def body(width):
        x = inputs = keras.Input((width,))
        return keras.Model(inputs, keras.ops.tanh(x + L.Dense(width)(x)), name="body")

    x = inputs = keras.Input((4,))
    x = ContinuousBlock(body(4), nodes=2, name="b0")(2 * x)
    net = randomize(keras.Model(inputs, keras.ops.sin(x)))
    x = normal((3, 4))
    np.testing.assert_array_equal(refine(net, 2, steps_factor=1)(x), net(x))
    assert np.abs(manifest(net, "euler", 1)(x) - net(x)).max() > 1e-3


@pytest.mark.parametrize("functional", [False, True])
def test_paths_of_weights_are_unique_and_stay(functional):
    def body():
        layers = [keras.Input((4,)), L.Dense(4, "tanh", name="hidden")]
        if not functional:
            return keras.Sequential(layers, name="rate")
        return keras.Model(layers[0], layers[1](layers[0]), name="rate")

    x = inputs = keras.Input((4,))
    for i in range(2):
        x = ContinuousBlock(body(), nodes=2, name=f"b{i}")(x)
    net = keras.Model(inputs, x)
    paths = [
        f"b{i}/rate/hidden/{name}" for i in range(2) for name in ("kernel", "bias")
    ]
    for model in (net, refine(net, 2), keras.models.clone_model(net)):
        assert [v.path for v in model.variables] == paths
