"""What an export starts from: a run, or a .keras file and what that leaves open."""

import pathlib

import pytest

from export.keras_file import File
from export.origin import Origin
from export.run import Run
from trainers.errors import OptionError

MODEL = Origin(model="my.keras")


def test_the_latest_run_is_the_default():
    assert str(Origin().source) == "runs/latest"
    assert str(Origin(run="runs/a").source) == "runs/a"
    assert str(MODEL.source) == "my.keras"


def test_what_the_options_name():
    assert Origin(run="runs/a").origin == Run(pathlib.Path("runs/a"))
    given = {"labels": "a,b", "mean": (0.5,), "std": (0.2, 0.3)}
    file = File(pathlib.Path("my.keras"), **given)
    assert Origin(model="my.keras", **given).origin == file


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": "a.keras", "run": "runs/b"}, "--model: expected either a file or"),
        ({"labels": "a,b"}, "--labels: expected --model=my.keras with it"),
        ({"run": "runs/b", "mean": (0.5,)}, "--mean: expected --model=my.keras with"),
        ({"std": (0.5,)}, "--std: expected --model=my.keras with it"),
        (
            {"model": "a.keras", "std": (0.0,)},
            "--std: expected numbers > 0. Rec.*'0.0'",
        ),
        ({"model": "a.keras", "mean": (float("nan"),)}, "--mean: expected numbers. R"),
    ],
)
def test_what_excludes_one_another(options, message):
    with pytest.raises(OptionError, match=message) as caught:
        Origin(**options)
    assert "\n" not in str(caught.value)
