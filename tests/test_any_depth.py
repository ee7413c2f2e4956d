"""Any-depth nets: one set of kernels, norms of its own for every member."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from refinable_nets import randomize

from cnet_tf import (
    ContinuousBlock,
    ContinuousClassifier,
    any_depth,
    checkpoint,
    continuous_net,
    manifest,
    refine,
)
from cnet_tf.any_depth import members_of, with_members
from cnet_tf.manifestation import recalibrate, recalibrated_along
from cnet_tf.member_name import evaluations, manifestation_of, member_name
from cnet_tf.paths import named_variables
from cnet_tf.runge_kutta import stage_times
from cnet_tf.series import ForwardPass
from cnet_tf.surgery import blocks_of, normalizations

MEMBERS = ("euler:1", "midpoint:1")
OTHERS = (*map(manifestation_of, MEMBERS), ("rk4", 2), ("euler", 4))


def images(count=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, 8, 8, 1))
    return x.astype("float32")


@pytest.fixture
def plain():
    net = continuous_net("digits", nodes=2, widths=(4, 6), strides=(1, 2))
    randomize(net)
    return net


@pytest.fixture
def net(plain):
    return with_members(plain, MEMBERS)


def own(net):
    """The numbers that members have for themselves, by member."""
    return {
        member: [v for v in net.variables if v.name.endswith(member.replace(":", "_"))]
        for member in MEMBERS
    }


def moved(net, function):
    """Names of the variables that a call changes."""
    before = [np.array(v) for v in net.variables]
    function()
    pairs = zip(net.variables, before, strict=True)
    return {v.path for v, old in pairs if np.any(np.array(v) != old)}


def test_members_start_as_the_manifestations_of_the_net(plain, net):
    x = images()
    for scheme, steps in OTHERS:
        one, other = manifest(net, scheme, steps), manifest(plain, scheme, steps)
        np.testing.assert_array_equal(one(x), other(x))


def test_a_batch_moves_the_statistics_of_its_own_manifestation_only(net):
    for member, variables in own(net).items():
        twin = manifest(net, *manifestation_of(member))
        names = moved(net, lambda twin=twin: twin(images(), training=True))
        assert names == {v.path for v in variables if "moving" in v.name}
    names = moved(net, lambda: net(images(), training=True))
    assert names and not any(m.replace(":", "_") in n for m in MEMBERS for n in names)


def test_recalibrating_a_member_changes_no_other(net):
    member = manifest(net, "euler", 1)
    x, before = images(), np.array(net(images()))
    kept = np.array(member(x))
    recalibrate(member, [images(32, 1)])
    assert np.abs(member(x) - kept).max() > 1e-3
    np.testing.assert_array_equal(net(x), before)
    np.testing.assert_array_equal(manifest(net, "euler", 1)(x), member(x))


@pytest.mark.parametrize(
    "member", ["euler:1", "midpoint:1", "heun2:3", "ssprk3:1", "rk4:2"]
)
def test_each_evaluation_of_a_member_has_statistics_of_its_own(plain, member):
    """Recalibrated on one batch, it gives for it what it gives in training."""
    randomize(plain)
    twin = manifest(with_members(plain, [member]), *manifestation_of(member))
    recalibrate(twin, [images(32)])
    expected = twin(images(32), training=True)
    np.testing.assert_allclose(twin(images(32)), expected, rtol=1e-4, atol=1e-4)


def test_statistics_of_cells_become_those_of_evaluations(net):
    """Of nets from before: every manifestation gives what it gave."""

    def before(norm):
        config = {**norm.get_config(), "statistics": "cells"}
        return type(norm).from_config(config)

    norms = [x for x in normalizations(net) if x.statistics != "cells"]
    old = any_depth._with_norms(net, dict.fromkeys(map(id, norms), before))
    randomize(old)
    new = any_depth.with_statistics_apart(old)
    assert {x.statistics for x in normalizations(new)} == {"cells", "evaluations"}
    for scheme, steps in OTHERS:
        one, other = manifest(new, scheme, steps), manifest(old, scheme, steps)
        np.testing.assert_allclose(one(images()), other(images()), atol=1e-5)


CELLS = 8


def along(net):
    return recalibrated_along(net, [images(32)], CELLS)


def test_statistics_of_depth_start_as_those_of_cells(net):
    new = any_depth.with_statistics_apart(net, CELLS)
    for scheme, steps in (*OTHERS, ("dopri5", 3)):
        one, other = manifest(new, scheme, steps), manifest(net, scheme, steps)
        np.testing.assert_allclose(one(images()), other(images()), atol=1e-5)


@pytest.mark.parametrize("scheme", ["euler", "rk4", "dopri5"])
def test_statistics_of_depth_are_read_at_the_stage_times(plain, scheme):
    """Whatever the step: those of cell floor(8 t), from the left at its end."""
    fine = along(plain)
    norm = next(x for x in normalizations(fine) if x.depth_cells)
    forward = ForwardPass()
    for steps in (1, 3, 16):
        for n in range(steps):
            for time in stage_times(scheme, n, steps):
                row = forward.row(norm.set_of(None)["moving_mean"].basis, time)
                cell = CELLS * time
                cell = math.ceil(cell) - 1 if time.side == "left" else math.floor(cell)
                assert row.index(1) == cell and sum(row) == 1


def test_a_cell_of_depth_has_the_moments_of_the_evaluations_in_it(plain):
    fine = along(plain)
    twin = manifest(plain, "midpoint", CELLS)
    twin = manifest(with_members(twin, ["midpoint:8"]), "midpoint", CELLS)
    recalibrate(twin, [images(32)])  # Sixteen evaluations, each apart.
    pairs = zip(normalizations(fine), normalizations(twin), strict=True)
    inside = [(one, other) for one, other in pairs if one.depth_cells]
    assert len(inside) == 4
    for one, other in inside:
        for name in ("moving_mean", "moving_variance"):
            found = one.set_of(None)[name].variable.numpy()
            each = getattr(other, name).variable.numpy()
            expected = each.reshape(CELLS, 2, -1).mean(axis=1)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_statistics_of_depth_leave_the_net_and_its_members_as_they_are(net):
    expected = {name: manifest(net, *manifestation_of(name)) for name in MEMBERS}
    expected["the net"] = net
    before = {name: np.array(one(images())) for name, one in expected.items()}
    fine = recalibrated_along(net, [images(32)])
    steps = max(block.steps for block in blocks_of(net))
    assert {x.depth_cells for x in normalizations(fine)} == {None, 4 * steps}
    found = {name: manifest(fine, *manifestation_of(name)) for name in MEMBERS}
    found["the net"] = fine
    for name, one in found.items():
        np.testing.assert_allclose(one(images()), before[name], atol=1e-5)
    changed = manifest(fine, "euler", 4)(images()) - manifest(net, "euler", 4)(images())
    assert np.abs(changed).max() > 1e-3


@pytest.mark.slow
def test_statistics_of_depth_go_with_the_net(plain, tmp_path):
    """Into members, refinements, loops, files."""
    fine = along(plain)
    expected = manifest(fine, "euler", 4)(images())
    checkpoint.save(fine, tmp_path / "net", {})
    forms = {
        "members": with_members(fine, MEMBERS),
        "refined": refine(fine, 2),
        "loops": manifest(fine, unroll=False),
        "loaded": checkpoint.load(tmp_path / "net").net,
    }
    for name, form in forms.items():
        found = manifest(form, "euler", 4)(images())
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)
    with pytest.raises(ValueError, match="depth_cells: expected an integer"):
        any_depth.with_statistics_apart(plain, 0)


def test_what_others_read_is_never_estimated_on_a_member(plain):
    twin = with_members(plain, ["midpoint:8"])
    member = manifest(twin, "midpoint", 8)
    before = np.array(member(images()))
    fine = recalibrated_along(twin, [images(32)], 8)
    np.testing.assert_allclose(
        manifest(fine, "midpoint", 8)(images()), before, atol=1e-5
    )
    one, other = (manifest(each, "euler", 4)(images()) for each in (fine, twin))
    assert np.abs(one - other).max() > 1e-3


def test_a_net_that_cannot_be_its_own_member_is_refused(plain):
    mixed = manifest(plain, "euler", blocks=["block_0"])
    with pytest.raises(ValueError, match="net: expected blocks of one scheme"):
        recalibrated_along(mixed, [images(32)])


def test_members_share_every_kernel_and_cost_two_percent_each():
    net = continuous_net("cifar10_2-2-2_rk4")
    count = net.count_params()
    more = with_members(net, MEMBERS)
    assert more.count_params() - count <= len(MEMBERS) * 0.02 * count
    assert {id(v) for v in manifest(more, "euler", 1).variables} == {
        id(v) for v in more.variables
    }
    kernels = [v for v in more.variables if v.name == "kernel"]
    assert kernels == [v for v in net.variables if v.name == "kernel"]


def test_a_member_of_a_member_is_the_net_again(net):
    randomize(net)
    there = manifest(net, "euler", 1)
    np.testing.assert_array_equal(manifest(there, "rk4", 2)(images()), net(images()))


@pytest.mark.parametrize("how", ["checkpoint", "keras"])
def test_a_saved_net_keeps_its_members(net, how, tmp_path):
    randomize(net)
    if how == "keras":
        net.save(tmp_path / "net.keras")
        again = keras.models.load_model(tmp_path / "net.keras")
    else:
        checkpoint.save(net, tmp_path)
        again = checkpoint.load(tmp_path).net
    assert members_of(again) == MEMBERS
    for scheme, steps in OTHERS:
        one, other = manifest(again, scheme, steps), manifest(net, scheme, steps)
        np.testing.assert_array_equal(one(images()), other(images()))


def test_refinement_keeps_the_field_of_every_member(net):
    randomize(net)
    deep = refine(net, 2, steps_factor=1)
    for scheme, steps in ((None, None), *map(manifestation_of, MEMBERS)):
        one, other = manifest(deep, scheme, steps), manifest(net, scheme, steps)
        # Averages over a step of two cells, or of four halves of them.
        np.testing.assert_allclose(one(images()), other(images()), atol=2e-5)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "Adafactor"])
def test_members_inherit_what_the_optimizer_keeps_for_a_norm(plain, kind):
    optimizer = getattr(keras.optimizers, kind)(0.01)
    if kind == "SGD":
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(plain.trainable_variables)
    random = np.random.default_rng(0)
    gradients = [
        ops.convert_to_tensor(random.normal(size=v.shape), "float32")
        for v in plain.trainable_variables
    ]
    optimizer.apply(gradients)
    new_net, new = with_members(plain, MEMBERS, optimizer)
    assert int(new.iterations) == 1
    by_path = dict(zip(paths(plain), gradients, strict=True))
    same = [by_path[common(path)] for path in paths(new_net)]
    optimizer.apply(gradients)
    new.apply(same)
    after = dict(zip(paths(new_net), new_net.trainable_variables, strict=True))
    assert len(after) == len(by_path) + 2 * len(MEMBERS) * 7
    for path, value in after.items():
        np.testing.assert_array_equal(value, after[common(path)])


def paths(net):
    """Of the trainable variables, in order."""
    places = {id(v): path for path, v in named_variables(net).items()}
    return [places[id(v)] for v in net.trainable_variables]


def common(path):
    """What a member's variable started as."""
    for member in MEMBERS:
        path = path.removesuffix("_" + member.replace(":", "_"))
    return path


def test_norms_of_keras_get_members_too():
    layers = keras.layers
    unit = keras.Sequential([layers.Dense(3), layers.BatchNormalization()])
    net = keras.Sequential(
        [
            keras.Input((3,)),
            layers.BatchNormalization(),
            ContinuousBlock(unit, nodes=2, scheme="rk4"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    more = with_members(net, ["euler:1"])
    np.testing.assert_allclose(more(x), net(x), atol=1e-6)
    member = manifest(more, "euler", 1)
    moved_names = moved(more, lambda: member(x, training=True))
    assert len(moved_names) == 4
    assert all(name.endswith("euler_1") for name in moved_names)


def test_names_and_costs():
    assert member_name("rk4", 2) == "rk4:2"
    assert manifestation_of("midpoint:3") == ("midpoint", 3)
    assert member_name("rk4", [3, 1]) == "rk4:3,1"
    assert member_name("rk4", [2, 2]) == "rk4:2"
    assert manifestation_of("rk4:3,1") == ("rk4", (3, 1))
    assert evaluations("rk4:3,1") == 12 and evaluations("rk4:3,1", 1) == 4
    assert [evaluations(n) for n in ("euler:1", "midpoint:1", "rk4:2")] == [1, 2, 8]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "members: expected names of manifestations, each once"),
        (["euler:1", "euler:1"], "each once"),
        (["euler"], "members: expected scheme:N, such as 'euler:1'. Received 'euler'"),
        (["euler:0"], "expected scheme:N"),
        (["euler:1,"], "expected scheme:N"),
        (["euler:1,2,3"], "members: expected a number or 2 of them, one per block"),
        (["euler:-1"], "expected scheme:N"),
        (["oiler:1"], "oiler"),
    ],
)
def test_bad_members_are_refused(plain, members, message):
    with pytest.raises(ValueError, match=message):
        with_members(plain, members)


def test_nets_that_can_have_no_members_are_refused(net):
    with pytest.raises(ValueError, match=r"members: expected new ones\. Received"):
        with_members(net, ["rk4:1", "euler:1"])
    with pytest.raises(ValueError, match="continuous blocks"):
        with_members(continuous_net("resnet20"), MEMBERS)
    with pytest.raises(ValueError, match="expected batch norms"):
        with_members(ContinuousClassifier(2), MEMBERS)
