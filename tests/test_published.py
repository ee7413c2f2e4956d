"""With the published weights our nets compute the published numbers, in float64.

The numbers and the nets in words are in a folder beside the repository; see the README
there. They decide what the published nets are: equal numbers of parameters do not.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from golden import NETS, PYTORCH, as_series, build, load, section, variables
from slow_cases import fast

# Of the largest entry of an array. Gradients: of the largest gradient of the net, as
# those of biases in front of a norm are zero but for rounding.
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def golden(golden_dir):
    return functools.cache(lambda name: load(golden_dir / f"{name}.npz"))


def assert_close(found, expected, what, scale=None):
    scale = np.max(np.abs(expected)) if scale is None else scale
    error = np.max(np.abs(np.asarray(found) - expected)) / scale
    assert error < TOLERANCE, f"{what}: {error:.1e}"


@pytest.mark.parametrize(
    ("name", "size"),
    fast(
        [(name, "") for name in NETS] + [(name, "_odd") for name in PYTORCH],
        *((name, "") for name in NETS if name not in ("pre_tail_relu", "wide")),
    ),
)
def test_logits_of_every_case(golden, name, size):
    values = golden(name)
    cases = section(values, f"logits{size}")
    assert cases
    for case, expected in cases.items():
        net = build(name, values, case)
        logits = net(values[f"input{size}"], training=False)
        assert_close(logits, expected, case)


def training_pass(name, values, case):
    """(net, loss, gradients by published names) of one pass in training."""
    net = build(name, values, case)
    named = variables(net)
    weights = {k: v for k, v in named.items() if v.trainable}
    with tf.GradientTape() as tape:
        logits = net(tf.constant(values["input"]), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            values["labels"], logits
        )
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, {k: v.value for k, v in weights.items()})
    return net, loss, gradients


@pytest.mark.parametrize("name", NETS)
def test_loss_and_gradients(golden, name):
    values = golden(name)
    _, loss, gradients = training_pass(name, values, "train")
    assert_close(loss, values["loss"], "loss")
    expected = section(values, "grads")
    assert gradients.keys() == expected.keys()
    largest = max(np.max(np.abs(g)) for g in expected.values())
    for key, gradient in gradients.items():
        whole = as_series(expected[key], gradient.shape)
        assert_close(gradient, whole, key, scale=largest)


# Pixels of a batch, the n of n / (n - 1), where a norm sees them.
PIXELS = (768, 192, 48)


def pixels(name, norm):
    """The pixels that a norm of a PyTorch net averages over, by its published name."""
    place, *rest = norm.split("/")
    if place == "stem":
        return PIXELS[0]
    if place == "tail":
        return PIXELS[2]
    stage = int(place.split("_")[1])
    if rest[0].startswith("unit"):
        first, rest = rest[0] == "unit_0", rest[1:]
    else:
        first = place.startswith("transition")
    # What comes before the first unit's stride sees the pixels of the stage before:
    # the norms in front of the strided convolution.
    before = {"pre": 1, "pre_tail_relu": 1, "wide": 1, "wrn10-2": 2}.get(name, 0)
    in_front = first and rest[0] == "branch" and int(rest[1].split("_")[1]) < before
    return PIXELS[max(0, stage - 1) if in_front else stage]


def biased(name, key, old, after, keep):
    """Statistics after a pass as a program has them that keeps biased variances.

    new = keep old + (1 - keep) batch, where PyTorch's batch is n / (n - 1) times ours.
    """
    norm, _, kind = key.rpartition("/")
    if name not in PYTORCH or kind != "variance":
        return after
    n = pixels(name, norm)
    batch = (after - keep * old) / (1 - keep)
    return keep * old + (1 - keep) * batch * (n - 1) / n


@pytest.mark.parametrize(
    ("name", "case", "loss", "after"),
    [(name, "train", "loss", "stats_after") for name in NETS]
    + [("stateful", "train_rk4", "loss_rk4", "stats_after_rk4")],
)
def test_statistics_after_a_pass(golden, name, case, loss, after):
    values = golden(name)
    net, found, _ = training_pass(name, values, case)
    assert_close(found, values[loss], loss)
    moved = {k: v for k, v in variables(net).items() if not v.trainable}
    before, expected = section(values, "stats"), section(values, after)
    assert moved.keys() == expected.keys()
    for key, variable in moved.items():
        published = name in ("pre", "pre_tail_relu", "wide", "wrn10-2")
        keep = 0.1 if published and key.startswith("tail/") else 0.9
        whole = biased(name, key, before[key], expected[key], keep)
        assert np.any(whole != before[key])
        assert_close(variable, as_series(whole, variable.shape), key)


@pytest.mark.parametrize("name", PYTORCH)
def test_padding_matters_on_even_sizes_only(golden, name):
    """Logits with `same` are others, by a tenth and more, but not on odd sizes."""
    values = golden(name)
    case = next(iter(section(values, "logits")))
    net = build(name, values, case, padding="same")
    odd = values[f"logits_odd/{case}"]
    assert_close(net(values["input_odd"], training=False), odd, case)
    even = values[f"logits/{case}"]
    difference = np.abs(np.asarray(net(values["input"], training=False)) - even)
    assert np.max(difference) > 0.05 * np.max(np.abs(even))
