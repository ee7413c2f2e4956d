"""What an export starts from: a run, or a .keras file and what that leaves open."""

import pytest

from export.origin import Origin, class_names, per_channel
from trainers.errors import OptionError

MODEL = Origin(model="my.keras")


def test_the_latest_run_is_the_default():
    assert str(Origin().source) == "runs/latest"
    assert str(Origin(run="runs/a").source) == "runs/a"
    assert str(MODEL.source) == "my.keras"


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


def test_class_names(tmp_path):
    def named(labels, classes=3):
        return class_names(Origin(model="my.keras", labels=labels), classes)

    path = tmp_path / "labels.txt"
    path.write_text("cat\nkäse\n\ndog\n", encoding="utf-8")
    assert named(str(path)) == ["cat", "käse", "dog"]
    assert named("a, b,c") == ["a", "b", "c"]
    assert class_names(MODEL, 3) == ["0", "1", "2"]
    with pytest.raises(
        OptionError, match="--labels: expected 4 different .*Received 3"
    ):
        named("a,b,c", 4)
    with pytest.raises(
        OptionError, match="--labels: expected 3 different .*Received 2"
    ):
        named("a,b,a")
    path.write_bytes("\ufeffcat\r\ndog\r\n".encode())  # Of Windows' editor.
    assert named(str(path), 2) == ["cat", "dog"]
    many = [f"class {i}" for i in range(1000)]  # No path is so long.
    assert named(",".join(many), 1000) == many
    with pytest.raises(OptionError, match="--labels: .*at most 255 .* Received 'xxx"):
        named(f"a,b,{'x' * 256}")
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(OptionError, match="--labels: expected a text file in UTF-8"):
        named(str(path))


def test_numbers_per_channel():
    options = Origin(model="my.keras", mean=(0.5,), std=(0.1, 0.2, 0.3))
    assert per_channel(options, "mean", 3) == [0.5, 0.5, 0.5]
    assert per_channel(options, "std", 3) == [0.1, 0.2, 0.3]
    assert per_channel(MODEL, "mean", 2) == [0.0, 0.0]
    assert per_channel(MODEL, "std", 1) == [1.0]
    with pytest.raises(OptionError, match="--std: expected one number, or 2, one a ch"):
        per_channel(options, "std", 2)
