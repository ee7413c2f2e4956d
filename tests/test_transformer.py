"""A transformer of blocks: encoder layers in a row are its Euler manifestation."""

import keras
import net_contract as contract
import numpy as np
import pytest

from cnet_tf import ContinuousTransformer
from cnet_tf.transformer import PositionEmbedding

L = keras.layers
KINDS = {
    "tokens": {"vocabulary": 11, "input_shape": (6,)},
    "features": {"input_shape": (6, 3)},
    "image": {"patch": 2, "input_shape": (4, 6, 3)},
}
LENGTH = 6  # Of every kind.


def inputs(kind, count=3, seed=0):
    shape = (count, *KINDS[kind]["input_shape"])
    if kind == "tokens":
        return np.random.default_rng(seed).integers(0, 11, shape)
    return contract.normal(shape, seed)


def builder(kind="features", **fixed):
    def build(**arguments):
        small = {"width": 8, "heads": 2, "mlp_width": 5, **KINDS[kind], **fixed}
        return ContinuousTransformer(3, **{**small, **arguments})

    return build


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_number_of_parameters(kind):
    w, m, classes = 8, 5, 3
    stem = {"tokens": 11 * w, "features": 3 * w + w, "image": 2 * 2 * 3 * w + w}[kind]
    layer = 4 * (w * w + w) + (w * m + m + m * w + w) + 2 * 2 * w
    outside = stem + LENGTH * w + 2 * w + w * classes + classes
    net = builder(kind, blocks=2)(nodes=(3, 1))
    assert net.count_params() == outside + (3 + 1) * layer


def plain_layers(values, prefix, k):
    """The layers of one encoder layer, in plain Keras, with weights theta_k."""
    shape = (None, LENGTH, 8)
    made = {
        "attention_norm": L.LayerNormalization(epsilon=1e-5),
        "attention": L.MultiHeadAttention(2, 4, name="attention"),
        "mlp_norm": L.LayerNormalization(epsilon=1e-5),
        "mlp_expand": L.Dense(5, "gelu"),
        "mlp_project": L.Dense(8),
    }
    for name, layer in made.items():
        if name == "attention":
            layer.build(shape, shape)
        else:
            layer.build((*shape[:-1], 5) if name == "mlp_project" else shape)
        for v in layer.weights:
            of = v.path.removeprefix(f"{layer.name}/").replace("/", "_")
            v.assign(values[f"{prefix}/{name}/{of}"][k])
    return made.values()


@pytest.mark.parametrize("nodes", [1, 3])
def test_euler_is_a_transformer(nodes):
    """N = K, eps = K: x + A(LN x), then x + M(LN x), for every k, in plain Keras."""
    build = builder(nodes=nodes, scheme="euler", horizon=nodes)
    net = contract.randomize(build())
    values = {v.path: keras.ops.convert_to_numpy(v) for v in net.variables}
    data = inputs("features")
    x = data @ values["stem/kernel"] + values["stem/bias"]
    x = x + values["position/embeddings"]
    for k in range(nodes):
        norm, attention, norm_2, expand, project = plain_layers(
            values, "block_0/rate", k
        )
        y = norm(x)
        x = x + attention(y, y)
        x = x + project(expand(norm_2(x)))
    tail = L.LayerNormalization(epsilon=1e-5)
    tail.build(x.shape)
    tail.set_weights([values["tail/gamma"], values["tail/beta"]])
    expected = np.mean(tail(x), axis=1) @ values["head/kernel"] + values["head/bias"]
    np.testing.assert_allclose(net(data), expected, rtol=1e-5, atol=1e-5)


def test_patches_are_a_sequence_row_by_row():
    net = builder("image")()
    image = np.zeros((1, 4, 6, 3), "float32")
    image[0, 2:4, 0:2] = 1  # The first patch of the second row: element 3 of 6.
    sequence = keras.ops.convert_to_numpy(net.get_layer("stem")(image))[0]
    assert sequence.shape == (LENGTH, 8)
    assert list(np.flatnonzero(np.any(sequence, axis=1))) == [3]


def test_an_order_is_told_by_positions_only():
    """Without positions attention and mean do not know the order."""
    net = contract.randomize(builder()())
    x = inputs("features")
    assert np.abs(net(x[:, ::-1]) - net(x)).max() > 1e-3
    net.get_layer("position").embeddings.assign(np.zeros((LENGTH, 8)))
    np.testing.assert_allclose(net(x[:, ::-1]), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("masked", [False, True])
def test_padding_counts_only_without_a_mask(masked):
    """Whatever the padding is embedded as, in all blocks and in the mean."""
    net = contract.randomize(builder("tokens", mask_zero=masked, blocks=2)())
    x = np.array([[4, 7, 2, 0, 0, 0], [1, 2, 3, 4, 5, 0]])
    before = net(x)
    embeddings = net.get_layer("stem").embeddings
    value = keras.ops.convert_to_numpy(embeddings).copy()
    value[0, ::2] += 1  # Not all: norms take a shift of all away.
    embeddings.assign(value)
    changed = np.abs(net(x) - before).max(axis=1)
    assert np.all((changed == 0) if masked else (changed > 1e-3))


def masked(**arguments):
    return builder("tokens", mask_zero=True, blocks=2)(**arguments)


BUILDERS = {**{kind: builder(kind) for kind in KINDS}, "masked tokens": masked}
every_net = pytest.mark.parametrize("name", BUILDERS)
# Of files that take long to write, one in the fast suite.
files_of_every_net = pytest.mark.parametrize(
    "name",
    [
        name if name == "image" else pytest.param(name, marks=pytest.mark.slow)
        for name in BUILDERS
    ],
)


def inputs_of(name, count=3):
    return inputs(name.rpartition(" ")[2], count)


@every_net
def test_refining_keeps_logits(name):
    contract.refining_keeps_logits(BUILDERS[name], inputs_of(name))


@every_net
def test_manifestations_share_variables(name):
    contract.manifestations_share_variables(BUILDERS[name], inputs_of(name))


@files_of_every_net
def test_files_and_clones_compute_the_same(name, tmp_path):
    contract.files_and_clones_compute_the_same(
        BUILDERS[name], inputs_of(name), tmp_path
    )


@every_kind
def test_parts_are_named(kind):
    names = ["stem", "position", "block_0", "block_1", "tail", "pool", "head"]
    contract.parts_are_named(builder(kind, blocks=2), inputs(kind), names)


@every_kind
def test_is_drawn(kind, tmp_path):
    contract.is_drawn(builder(kind), tmp_path)


@every_kind
def test_gradients_reach_every_weight(kind):
    # Token for token: an embedding that no example looks up has no gradient.
    x = inputs(kind) if kind != "tokens" else np.arange(12).reshape(2, 6) % 11
    contract.gradients_reach_every_weight(builder(kind), x)


@pytest.mark.slow
def test_learns_alike_from_a_seed():
    """Whether a sequence of tokens has more of one than of another."""
    x = np.random.default_rng(0).integers(1, 3, (64, 7))[:, :6]
    labels = (np.sum(x == 1, axis=1) > 3).astype("int32")
    build = builder("tokens", scheme="midpoint")
    contract.learns_alike_from_a_seed(build, x, labels, epochs=15)


@every_kind
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precision_is_that_of_the_policy(kind, policy):
    contract.precision_is_that_of_the_policy(builder(kind), inputs(kind), policy)


@pytest.mark.parametrize("kind", ["features", "image"])
def test_computes_in_double_precision(kind):
    contract.computes_in_double_precision(builder(kind), inputs(kind))


@pytest.mark.slow
@files_of_every_net
def test_tflite_has_all_its_operations(name):
    contract.tflite_has_all_operations(BUILDERS[name], inputs_of(name))


def test_config_round_trip():
    layer = PositionEmbedding("zeros", name="mine", dtype="float64")
    twin = PositionEmbedding.from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "heads: expected a divisor of width = 8. Received 3"),
        ({"heads": 0}, "heads: expected an integer >= 1. Received 0"),
        ({"width": 0}, "width: expected an integer >= 1. Received 0"),
        ({"mlp_width": 0}, "mlp_width: expected an integer >= 1. Received 0"),
        ({"blocks": 0}, "blocks: expected an integer >= 1. Received 0"),
        ({"nodes": (1, 2)}, r"nodes: expected a number or 1 of them.*\(1, 2\)"),
        ({"blocks": 2, "steps": (1,)}, "steps: expected a number or 2 of them"),
        ({"input_shape": (6,)}, r"vocabulary: expected a number of tokens.*None"),
        ({"input_shape": (6,), "vocabulary": 0}, "vocabulary: expected an integer"),
        ({"vocabulary": 9}, r"vocabulary: expected none for features.*Received 9"),
        ({"mask_zero": True}, "mask_zero: expected none for features"),
        ({"patch": 2}, "patch: expected none for features.*Received 2"),
        ({"input_shape": (8, 6, 1)}, r"patch: expected a divisor.*\(8, 6, 1\).*4"),
        ({"input_shape": (8, 6, 1), "patch": 0}, "patch: expected an integer >= 1"),
        ({"input_shape": (None, 3)}, r"input_shape: expected known sizes.*pad"),
        ({"input_shape": ()}, r"input_shape: expected \(length,\).*Received \(\)"),
        ({"scheme": "rk5"}, "scheme: expected one of .*'rk5'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        builder()(**arguments)


def test_refuses_classes():
    with pytest.raises(ValueError, match="classes: expected an integer >= 1"):
        ContinuousTransformer(0, input_shape=(4, 2))
