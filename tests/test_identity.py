"""What determines the numbers of a run: one digest of options, data and code."""

import dataclasses
import os

import pytest
import tensorflow as tf

from trainers import identity
from trainers.data.errors import DataError
from trainers.identity import Identity
from trainers.options import Options
from trainers.place import Place
from trainers.schedule import extension
from trainers.snapshots import Progress

DATA = {
    "name": "digits",
    "found_in": "/data",
    "image_shape": [8, 8, 1],
    "class_names": ["0", "1"],
    "mean": [0.3],
    "std": [0.4],
    "files_sha256": "a",
    "contents": {"train": "a"},
}
PLACE = Place(tf.distribute.get_strategy(), 32)


def of(place=PLACE, data=None, **changes):
    return Identity.of(Options(**changes), place, {**DATA, **(data or {})})


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 31},
        {"cutout": 2},
        {"steps": (2,)},
        {"rollback_rate": 0.4},
        {"data": {"mean": [0.31]}},
        {"data": {"class_names": ["1", "0"]}},
        {"place": dataclasses.replace(PLACE, batch_size=64)},
    ],
)
def test_what_changes_numbers_changes_the_digest(change):
    assert of(**change).digest != of().digest


@pytest.mark.parametrize(
    "change",
    [
        {"keep": 5},
        {"save_batches": 3},
        {"tensorboard": False},
        {"runs_dir": "elsewhere"},
        {"max_minutes": 3.0},
        {"batch_size": 99},  # That of all replicas counts.
        {"data": {"found_in": "/moved"}},
    ],
)
def test_what_does_not_leaves_it(change):
    assert of(**change).digest == of().digest


def test_it_depends_on_the_code(monkeypatch):
    before = of().digest
    monkeypatch.setattr(identity, "code", lambda: {"source": "other"})
    assert of().digest != before


def test_a_folder_is_known_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absolute = of(dataset=f"folder:{os.getcwd()}/pets").options
    for name in ("folder:pets", "folder:./pets/", "folder:pets/../pets"):
        assert of(dataset=name).options == absolute


def test_replicas_count_where_each_normalises_by_its_own_part():
    class Two:
        num_replicas_in_sync = 2

    place = Place(Two(), 32)
    strategy = {"strategy": "mirrored", "place": place}
    assert of(**strategy).options["replicas"] == 2
    assert of(**strategy, sync_batch_norm=True).options["replicas"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("class_names", ["aaa", "0", "1"]), ("mean", [0.2]), ("contents", {"train": "b"})],
)
def test_other_data_are_refused_where_a_run_goes_on(name, value):
    then = {"data": DATA, "identity": {"code": identity.code()}}
    of().check_resumed(then, pytest.fail)
    with pytest.raises(DataError, match=f"the run began with, {name} ") as error:
        of(data={name: value}).check_resumed(then, pytest.fail)
    assert "\n" not in str(error.value) and "--noresume" in str(error.value)
    # Runs of before say nothing of it.
    older = {"data": {k: v for k, v in DATA.items() if k != name}}
    of(data={name: value}).check_resumed(older, pytest.fail)


def test_other_code_is_told_where_a_run_goes_on():
    then = {"data": DATA, "identity": {"code": {**identity.code(), "keras": "2.0"}}}
    told = []
    of().check_resumed(then, told.append)
    assert len(told) == 1 and "keras (was 2.0, is " in told[0] and "\n" not in told[0]
    assert identity.other_code({"data": DATA}) == ""


def test_the_code_is_that_of_the_library_and_the_trainers():
    found = identity.code()
    assert {"source", "tensorflow", "keras", "numpy"} == found.keys()
    assert all(found.values())


def test_differences_name_the_option_and_both_values():
    was, now = of().options, of(nodes=(2,), dataset="cifar10").options
    assert identity.differences(was, now) == [
        "--dataset differs (was digits, is cifar10)",
        "--nodes differs (was none, is [2])",
    ]
    assert (
        identity.differences(
            {}, of(place=dataclasses.replace(PLACE, batch_size=128)).options
        )
        == []
    )


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("step", "does not depend on --epochs: the run ends as if it had had 4 from"),
        ("constant", "does not depend"),
        ("cosine", "follows the new --epochs from here on, so the rate is 0.05 now"),
        (
            "linear",
            "the rate is 0.05 now and the run ends differently than with 4 epochs",
        ),
        ("one_cycle", "follows the new --epochs"),
    ],
)
def test_what_more_epochs_do_to_the_rate_is_said(schedule, said):
    warm = {"warmup_epochs": 1} if schedule == "one_cycle" else {}
    options = Options(epochs=4, schedule=schedule, **warm)
    assert said in extension(options, 10, Progress(epoch=2, updates=20))
