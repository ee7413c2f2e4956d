"""A training from a model of one's own: the same loop, from the file's weights."""

import csv
import dataclasses
import pathlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from cnet_tf import checkpoint
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.surgery import blocks_of
from trainers import first_net, fit
from trainers.data import eval_batches, load
from trainers.errors import OptionError
from trainers.interruption import Interrupted
from trainers.options import Options
from trainers.steps import evaluate

L = keras.layers


def mine(classes=10, shape=(8, 8, 1)):
    """A mixed net: Keras' own layers, a block of two depths, a frozen stem."""
    unit = keras.Sequential([L.Conv2D(6, 3, padding="same"), L.BatchNormalization()])
    inputs = keras.Input(shape)
    x = L.Conv2D(6, 3, 2, activation="relu", name="stem")(inputs)
    x = ContinuousBlock(unit, nodes=1, scheme="midpoint", name="flow")(x)
    outputs = L.Dense(classes)(L.GlobalMaxPooling2D()(x))
    model = keras.Model(inputs, outputs, name="mine")
    model.get_layer("stem").trainable = False
    return model


def of(*last, dtype="float32"):
    """A model whose last layers, or whose only part, are these."""
    parts = [L.Flatten(), L.Dense(10), *last]
    if isinstance(last[0], keras.Sequential):
        parts = last
    return keras.Sequential([keras.Input((8, 8, 1), dtype=dtype), *parts])


def test_the_head_is_found_within_models():
    inner = keras.Sequential(
        [L.Flatten(), L.Dense(5, name="features"), L.Dense(10, name="head")]
    )
    net = keras.Sequential([keras.Input((8, 8, 1)), inner])
    first_net._freeze_features(net)
    names = [variable.path.split("/")[-2] for variable in net.trainable_variables]
    assert names == ["head", "head"]


def test_a_model_that_scales_pixels_itself_is_refused(short_run, tmp_path):
    """Trainings give normalised images: it would see nearly nothing."""
    parts = [L.Rescaling(1 / 255), L.Flatten(), L.Dense(10)]
    net = keras.Sequential([keras.Input((8, 8, 1)), *parts])
    net.save(tmp_path / "my.keras")
    with pytest.raises(OptionError, match="expected a model of normalised images"):
        fit.fit(short_run(model=str(tmp_path / "my.keras"), epochs=1))


@pytest.mark.slow
def test_trains_grows_and_resumes_a_model_of_ones_own(short_run, tmp_path):
    net = mine()
    net.save(tmp_path / "my.keras")
    options = short_run(model=str(tmp_path / "my.keras"), epochs=3, refine_epochs=(2,))
    summary = fit.fit(options)
    assert pathlib.Path(summary["run"]).name.startswith("digits-my-")
    trained = checkpoint.load(f"{summary['run']}/net").net
    assert [(b.nodes, b.steps) for b in blocks_of(trained)] == [(2, 2)]
    stem = trained.get_layer("stem")
    np.testing.assert_array_equal(stem.kernel, net.get_layer("stem").kernel)
    assert not stem.trainable
    with open(f"{summary['run']}/log.csv") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]
    # What a run has trained is a model to train on.
    again = fit.fit(short_run(model=summary["run"], epochs=1))
    more = checkpoint.load(f"{again['run']}/net").net
    assert [(b.nodes, b.steps) for b in blocks_of(more)] == [(2, 2)]
    with open(f"{again['run']}/log.csv") as file:
        assert float(next(csv.DictReader(file))["loss"]) < losses[0]


@pytest.mark.slow
def test_another_file_of_the_same_name_is_another_run(short_run, tmp_path):
    path = tmp_path / "my.keras"
    options = short_run(model=str(path), epochs=2, max_minutes=1e-6)
    runs = set()
    for _ in range(2):
        mine().save(path)  # Each with draws of its own.
        with pytest.raises(Interrupted):
            fit.fit(options)
        folder = pathlib.Path(options.runs_dir)
        runs |= {path.name for path in folder.iterdir() if path.name != "latest"}
    assert len(runs) == 2


def with_norm(trainable=True, **conv):
    """A convolution and a batch norm of Keras' own, perhaps frozen."""
    stem = L.Conv2D(4, 3, activation="relu", name="stem", **conv)
    norm = L.BatchNormalization(name="norm")
    stem.trainable = norm.trainable = trainable
    parts = [stem, norm, L.Flatten(), L.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), *parts])


@pytest.mark.slow
def test_regularizers_of_a_model_count(short_run, tmp_path, capsys):
    keras.utils.set_random_seed(0)
    net = with_norm()
    net.save(tmp_path / "plain.keras")
    held = with_norm(kernel_regularizer=keras.regularizers.L2(10.0))
    held.set_weights(net.get_weights())
    held.save(tmp_path / "held.keras")
    sizes = []
    for name in ("plain", "held"):
        path = str(tmp_path / f"{name}.keras")
        summary = fit.fit(short_run(model=path, learning_rate=0.01))
        found = checkpoint.load(f"{summary['run']}/net").net
        sizes.append(np.square(found.get_layer("stem").kernel).sum())
    assert sizes[1] < 0.5 * sizes[0]
    notes = capsys.readouterr().err
    assert notes.count("note: --model: its own regularizers count besides") == 1


@pytest.mark.slow
def test_frozen_norms_stay_as_they_are(short_run, tmp_path):
    """An average of weights re-estimates the others."""
    net = with_norm(trainable=False)
    net.get_layer("norm").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    path = str(tmp_path / "my.keras")
    net.save(path)
    summary = fit.fit(short_run(model=path, ema=0.9))
    found = checkpoint.load(f"{summary['run']}/net").net
    for old, new in zip(net.weights[:-2], found.weights[:-2], strict=True):
        np.testing.assert_array_equal(new, old)
    assert np.any(np.array(found.weights[-2]) != np.array(net.weights[-2]))
    with pytest.raises(OptionError, match="--recalibrate: .* keeps 'norm' frozen"):
        fit.fit(short_run(model=path, recalibrate=2))


@pytest.mark.slow
def test_scores_on_replicas_are_those_of_the_net_that_is_kept(short_run, tmp_path):
    """Norms of Keras' own have other statistics on each replica."""
    path = str(tmp_path / "my.keras")
    with_norm().save(path)
    options = short_run(model=path, strategy="mirrored", precision="float64")
    summary = fit.fit(options)
    found = checkpoint.load(f"{summary['run']}/net").net
    data = load("digits", options.data_dir, options.validation_fraction)
    scores = evaluate(found, eval_batches(data, "test", 500))
    assert scores["loss"] == pytest.approx(summary["test_loss"], rel=1e-9)
    assert scores["accuracy"] == summary["test_accuracy"]


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (lambda: mine(classes=3), "--model: expected a model from images .*logits"),
        (lambda: mine(shape=(9, 9, 1)), r"--model: expected .*\(None, 8, 8, 1\)"),
        (
            lambda: of(L.Rescaling(1 / 255), dtype="uint8"),
            "--model: .* input of floats",
        ),
        (lambda: of(L.Softmax()), "--model: expected a model of logits. .* 'softmax"),
        (lambda: of(of(L.Softmax())), "--model: expected a model of logits. .*'soft"),
        (lambda: of(L.Activation("sigmoid")), "--model: expected a model of logits"),
    ],
)
def test_a_model_of_other_images_or_classes_is_refused(
    short_run, tmp_path, model, match
):
    model().save(tmp_path / "my.keras")
    options = short_run(model=str(tmp_path / "my.keras"))
    with pytest.raises(OptionError, match=match) as error:
        fit.fit(options)
    assert "\n" not in str(error.value)
    assert not list(pathlib.Path(options.runs_dir).iterdir())


def test_a_model_without_blocks_does_not_grow(short_run, tmp_path):
    keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10)]).save(
        tmp_path / "my.keras"
    )
    options = short_run(model=str(tmp_path / "my.keras"), epochs=2)
    with pytest.raises(OptionError, match="--model: .*continuous blocks"):
        fit.fit(dataclasses.replace(options, refine_epochs=(1,)))


@pytest.mark.parametrize(
    "change", [{"nodes": (2,)}, {"basis": "hat"}, {"sync_batch_norm": True}]
)
def test_how_to_build_a_net_is_not_asked_of_a_file(change):
    (name,) = change
    with pytest.raises(OptionError, match=f"--{name}: expected none with --model"):
        Options(model="my.keras", **change)


def test_a_missing_file_is_refused(short_run, tmp_path):
    with pytest.raises(OptionError, match="--model: expected a .keras file"):
        fit.fit(short_run(model=str(tmp_path / "none.keras")))


def test_features_that_were_frozen_for_one_training_learn_in_the_next(
    short_run, capsys
):
    """As with --train_only=all, which is the default."""
    first = fit.fit(short_run(epochs=1, train_only="head"))
    found = checkpoint.load(f"{first['run']}/net")
    assert len(found.net.trainable_variables) == 2
    options = short_run(model=first["run"], epochs=1)
    plan = SimpleNamespace(options=options, data=data_of(options))
    net = first_net.first_net(plan)
    assert len(net.trainable_variables) > 2
    assert "note: --model: all layers of" in capsys.readouterr().err
    head = dataclasses.replace(options, train_only="head")
    net = first_net.first_net(SimpleNamespace(options=head, data=plan.data))
    assert len(net.trainable_variables) == 2


def data_of(options):
    return load(options.dataset, options.data_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"refine_epochs": (1,)}, {"euler:2"}),
        ({"refine_epochs": (1, 2), "refine_factor": (3, 2)}, {"euler:3", "euler:6"}),
        ({"refine": "on_plateau", "refine_times": 2}, {"euler:2", "euler:4"}),
        ({}, set()),
    ],
)
def test_a_member_is_no_manifestation_that_the_net_will_be(short_run, change, refused):
    for name in ("euler:2", "euler:3", "euler:4", "euler:6", "midpoint:2"):
        scheme, steps = name.split(":")
        options = short_run(
            scheme="euler", epochs=4, any_depth=((scheme, int(steps)),), **change
        )
        plan = SimpleNamespace(options=options, data=data_of(options))
        if name in refused:
            with pytest.raises(OptionError, match=f"--any_depth: .*Received {name}"):
                first_net.first_net(plan)
        else:
            assert first_net.first_net(plan)
