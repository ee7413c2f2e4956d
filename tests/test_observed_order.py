"""Observed orders are those of the schemes, and verdicts those that are known."""

import cmath
import dataclasses
from fractions import Fraction

import keras
import numpy as np
import pytest
from flows import block_net, oscillator, plain_net, states, turned

from cnet_tf import (
    ContinuousBlock,
    ContinuousNet,
    continuous_net,
    convergence,
    manifest,
    recalibrate,
    recalibrated_along,
)
from cnet_tf.any_depth import with_members
from cnet_tf.observed_order import (
    WHOLE,
    Part,
    _extrapolated,
    _joined,
    observe,
    wrong_answers,
)
from cnet_tf.step_verdict import (
    INTEGRATOR,
    OWN_STEP,
    UNDECIDED,
    judged,
    of_runs,
    relative,
)
from cnet_tf.sweep_plan import manifested
from cnet_tf.trajectory import TappedNet

SCHEMES = {"euler": 1, "midpoint": 2, "rk4": 4}


@pytest.fixture(scope="module")
def smooth():
    """Parts of a smooth net whose two cells are other fields."""
    keras.utils.set_random_seed(0)
    x = states()
    net = block_net("midpoint", 8)
    parts = observe(net, [(x[:5], None), (x[5:], None)], SCHEMES, (1, 2, 4))
    return net, parts


@pytest.mark.slow
def test_orders_of_smooth_rates(smooth):
    for part in smooth[1]:
        orders = judged(part).orders
        found = {scheme: order.value for scheme, order in orders.items()}
        assert found == pytest.approx(SCHEMES, abs=0.2)
        assert all(q.low <= q.value <= q.high for q in orders.values())
    assert [part.name for part in smooth[1]] == ["block", WHOLE]


def test_errors_are_distances_to_the_limit(smooth):
    """Against the same equation solved with many more steps."""
    net, (part, whole) = smooth
    fine = block_net("rk4", 64)
    fine.set_weights(net.get_weights())
    x = states()
    limit = fine(x).numpy()
    common = net(x[:5]).numpy().mean(axis=0)  # Of the first batch.
    error = np.linalg.norm(net(x).numpy() - limit) / np.linalg.norm(limit - common)
    assert relative(whole, "midpoint")[0].value == pytest.approx(error, rel=1e-3)
    assert judged(part).kind == INTEGRATOR


def test_a_chain_and_the_block_of_equal_weights_have_one_verdict():
    keras.utils.set_random_seed(0)
    net, x = block_net("euler"), states()
    plain = plain_net(net)
    np.testing.assert_allclose(plain(x), net(x), rtol=1e-12)
    one, other = ([judged(p) for p in observe(m, [(x, None)])] for m in (net, plain))
    for verdict, twin in zip(one, other, strict=True):
        assert (twin.kind, twin.scheme, twin.steps) == (verdict.kind, "euler", "2")
        for get in (lambda v: v.order, lambda v: v.floor):
            pair = dataclasses.astuple(get(verdict)), dataclasses.astuple(get(twin))
            np.testing.assert_allclose(*pair, rtol=1e-6)


def one_long_step(bias=0.0, classes=1):
    """A net whose answers change in the limit."""
    keras.utils.set_random_seed(0)
    unit = keras.layers.Dense(4, "tanh", kernel_initializer="orthogonal")
    head = keras.layers.Dense(
        classes, bias_initializer=keras.initializers.Constant(bias)
    )
    block = ContinuousBlock(unit, scheme="euler", horizon=6)
    return keras.Sequential([keras.Input((4,)), block, head])


def test_a_single_logit_answers_by_its_sign():
    net = one_long_step()
    x = np.random.default_rng(0).normal(size=(400, 4)).astype("float32")
    labels = (net(x).numpy()[:, 0] > 0).astype(int)
    for given in (labels, labels[:, None]):
        verdict = judged(observe(net, [(x, given)], factors=(1, 2, 4, 8))[-1])
        assert verdict.wrong == 0 and verdict.fall.value > 0.03
        assert verdict.kind == OWN_STEP
    assert wrong_answers([np.array([[2.0], [-1.0]])], [1, 1]).tolist() == [0, 1]


def test_what_all_examples_have_in_common_decides_nothing():
    x = np.random.default_rng(0).normal(size=(400, 4)).astype("float32")
    plain, shifted = (
        judged(observe(one_long_step(bias, 3), [(x, None)], factors=(1, 2, 4, 8))[-1])
        for bias in (0.0, 100.0)
    )
    assert shifted.floor.value == pytest.approx(plain.floor.value, rel=1e-2)
    assert shifted.kind == plain.kind == OWN_STEP


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"labels: expected integers of shape \(2,\)"):
        wrong_answers([np.eye(2)], [0, 1, 1])


def part_of(curve, limit, noise=1e-12):
    """A part of a net with labels whose answers as trained are all right."""
    count = len(limit)
    factors = tuple(map(Fraction, (1, 2, 4)))
    squared = np.outer(curve, np.ones(count))
    answers = {"rk4": np.zeros((3, count))}
    ones, finest = np.ones(count), ("rk4", factors[-1])
    return Part(
        *("block", "rk4", "2", factors, (True,) * 3, {"rk4": squared}, answers),
        *(ones, noise * ones, np.asarray(limit, float), finest, True),
    )


@pytest.mark.parametrize(("count", "fall"), [(20, 0.05), (100, 0.02), (300, 0.02)])
def test_few_answers_do_not_make_an_integrator(count, fall):
    """Of nets that lose two points or more, at most 2.5 % seem to lose none."""
    rng = np.random.default_rng(0)
    curve = 1e-4 * 256.0 ** -np.arange(3)  # Of order four.
    kinds = [judged(part_of(curve, rng.random(count) < fall)).kind for _ in range(200)]
    assert kinds.count(INTEGRATOR) <= 0.025 * 200
    assert judged(part_of(curve, np.zeros(300))).kind == INTEGRATOR


def test_an_order_below_the_noise_is_no_reason_to_doubt():
    verdict = judged(part_of(np.full(3, 1e-14), np.zeros(400), noise=1e-14))
    assert verdict.kind == INTEGRATOR
    assert verdict.text == "integrator, its order hidden by round-off"


def distance_to_truth(outputs, truth):
    return np.linalg.norm(np.asarray(outputs[0]) - truth, axis=-1)


def test_answers_that_are_images_are_wrong_in_a_part_of_their_places():
    logits = np.eye(3)[[[0, 1], [2, 2]]]  # One example of (2, 2) places.
    np.testing.assert_array_equal(
        wrong_answers([logits[None]], [[[0, 1], [2, 0]]]), 0.25
    )
    np.testing.assert_array_equal(wrong_answers([logits[0]], [0, 0]), [0, 1])


@pytest.mark.parametrize(
    ("scheme", "known", "kind"),
    [
        ("euler", True, OWN_STEP),
        ("euler", False, OWN_STEP),
        ("midpoint", True, OWN_STEP),
        ("rk4", False, INTEGRATOR),
    ],
)
def test_a_net_of_one_step_is_told(scheme, known, kind):
    """Fitted at D = .4: by its distance to the truth, and by itself alone."""
    u = np.array([[np.sin(a), np.cos(a)] for a in range(5)])
    labels = turned(u) if known else None
    judge = distance_to_truth if known else wrong_answers
    factors = (1, 2) if scheme == "rk4" else (1, 2, 4)
    net = oscillator(scheme, 0.4)
    part, _ = observe(net, [(u, labels)], (), factors, judge)
    verdict = judged(part)
    assert verdict.kind == kind
    # The floor of the closed form; without a truth, relative to what the block does.
    end = convergence.HORIZON * convergence.fitted_generator(scheme, 0.4)
    size = 1 if known else abs(cmath.exp(end) - 1)
    found = verdict.fall if known else verdict.floor
    expected = convergence.floor(scheme, 0.4) / size
    assert found.value == pytest.approx(expected, rel=0.15)


def test_the_limit_of_halved_steps_is_extrapolated():
    def states(power):
        return [[np.array([[1.0, 2.0]]) + h**power] for h in (0.4, 0.2, 0.1)]

    # With the order observed, which no scheme exceeds.
    np.testing.assert_allclose(_extrapolated(states(2), 4), [[[1, 2]]], rtol=1e-12)
    np.testing.assert_allclose(_extrapolated(states(4), 4), [[[1, 2]]], rtol=1e-12)
    # Where nothing converges the last state is all there is.
    apart = [[np.array([[x]])] for x in (0.0, 1.0, 3.0)]
    assert _extrapolated(apart, 4) == apart[-1]


def test_the_dip_is_one_of_a_power_law(smooth):
    part = smooth[1][0]
    squares = np.array([[f**-4.0] * 3 for f in (0.5, 1, 2, 4)])
    drawn = dataclasses.replace(
        part,
        factors=tuple(map(Fraction, ("1/2", "1", "2", "4"))),
        resolved=(True,) * 4,
        curves={"midpoint": squares},
        errors={"midpoint": np.zeros((4, 3))},
        size=np.ones(3),
        noise=np.zeros(3),
        limit=np.zeros(3),
    )
    assert judged(drawn).dip.value == pytest.approx(1)
    assert judged(drawn).order.value == pytest.approx(2)
    squares[1] = 1e-6
    assert judged(drawn).dip.value == pytest.approx(1e-3)
    # A step across two cells is no step of the same equation.
    unresolved = dataclasses.replace(drawn, resolved=(False, True, True, True))
    assert judged(unresolved).dip.value == pytest.approx(1e-3 * 4**-2 / 2**-4)


def test_answers_decide_where_there_are_labels(smooth):
    """Whatever the floor is; and few examples decide nothing."""
    few = dataclasses.replace(smooth[1][0], labelled=True)
    errors = {s: e * 0 for s, e in few.errors.items()}
    few = dataclasses.replace(few, errors=errors, limit=few.limit * 0)
    assert judged(few).kind == UNDECIDED
    flat = _joined([few] * 40)
    right = flat.limit
    assert judged(flat).kind == INTEGRATOR
    assert judged(dataclasses.replace(flat, limit=right + 1)).kind == OWN_STEP
    some = np.arange(len(right)) % 100 < 1
    assert judged(dataclasses.replace(flat, limit=some * 1.0)).kind == UNDECIDED
    both = [judged(flat), judged(dataclasses.replace(flat, limit=right + 1))]
    assert of_runs(both).kind == UNDECIDED
    assert (of_runs(both).fall.low, of_runs(both).fall.high) == (0, 1)
    assert of_runs(both[:1] * 3).kind == INTEGRATOR


def test_a_limit_that_overflows_is_another_net():
    net = oscillator("euler", 0.4)
    net.get_layer("block").series[0].variable.assign([[[1e4, 0], [0, 1e4]]])
    part, _ = observe(net, [(np.ones((3, 2)), None)])
    assert judged(part).kind == OWN_STEP


def test_stages_of_the_published_resnet_are_parts():
    net = continuous_net("resnet20", input_shape=(8, 8, 3))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    told = []

    def progress(*counts):
        told.append(counts)

    labels = [0, 1, 2, 3]
    parts = observe(net, [(x, labels)], ("midpoint",), (2,), progress=progress)
    assert [(p.name, p.steps) for p in parts] == [
        ("chain_0", "3"),
        ("chain_1", "2"),
        ("chain_2", "2"),
        (WHOLE, "3, 2, 2"),
    ]
    done, total = told[-1]
    assert done == total
    # Its answers as trained are the net's own.
    own = wrong_answers([net(x)], labels)
    np.testing.assert_array_equal(parts[-1].errors["euler"][0], own)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": (1,)}, "factors: expected numbers > 0, one of them above 1"),
        ({"factors": (-1, 2)}, "factors: expected numbers > 0"),
        ({"factors": ("5/4",)}, "factors: expected one above 1 that yields whole"),
        ({"factors": (512,)}, "factors: expected at most 1024 steps at twice"),
        ({"schemes": ("rk5",)}, "scheme: expected one of"),
        ({"batches": []}, "batches: expected at least one"),
    ],
)
def test_what_cannot_be_swept_is_refused(arguments, message):
    arguments = {"batches": [(states(), None)], **arguments}
    with pytest.raises(ValueError, match=message):
        observe(block_net(), **arguments)


@pytest.mark.parametrize("scheme", ["midpoint", "euler", "rk4"])
def test_other_forms_read_the_norms_that_manifest_has_them_read(scheme):
    """The net itself, a member, and what is neither and reads moments along depth."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(32, 6, 6, 2)).astype("float32")
    settings = {"widths": (4,), "strides": (1,), "nodes": 2, "scheme": "midpoint"}
    net = ContinuousNet(3, **settings, input_shape=(6, 6, 2))
    net = recalibrated_along(with_members(net, ["euler:4"]), [images])
    recalibrate(manifest(net, "euler", 4), [images])
    tapped = TappedNet(net)
    (flow,), ((x, _),) = tapped.flows, tapped.starts(images)
    for factor in (1, 2):
        (expected,) = TappedNet(manifest(net, scheme, 2 * factor)).flows
        found = manifested(flow, scheme, factor)
        np.testing.assert_array_equal(found(x), expected(x))
    alike = flow.manifested(scheme=scheme, steps=4)
    assert np.abs(found(x) - alike(x)).max() > 1e-3
