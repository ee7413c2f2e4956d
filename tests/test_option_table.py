"""One engine for the options of all commands: text to values, lines, replay."""

import dataclasses

import pytest
from absl import flags

from trainers import option_table
from trainers.errors import OptionError
from trainers.option_kinds import integer, list_of, number, one_of, pair, switch, text
from trainers.option_table import OptionTable, option

MANIFESTATION = pair(one_of(["euler", "rk4"]), integer(1), "scheme:steps, like rk4:2")


@dataclasses.dataclass(frozen=True)
class Small(OptionTable):
    COMBINATIONS = (
        (
            "ratio",
            lambda options: options.ratio > options.count,
            lambda options: f"expected at most --count. Received {options.ratio}.",
        ),
    )

    count: int = option(2, integer(1, 9), "Things")
    ratio: float = option(0.1, number("> 0"), "Part")
    fold: bool | None = option(None, switch(), "Fold", "where it can")
    output: str | None = option(None, text(), "Folder", "none")
    formats: tuple = option(("a", "b"), list_of(one_of("abc"), unique=True), "Formats")
    more: tuple = option((), list_of(MANIFESTATION, unique=True), "Manifestations")


def parsed(*arguments):
    values = flags.FlagValues()
    option_table.define_flags(Small, values)
    values(["test", *arguments])
    return option_table.from_flags(Small, values)


def test_text_becomes_values():
    assert parsed() == Small()
    found = parsed("--nofold", "--more=rk4:2, euler:1", "--formats=c", "--ratio=5e-4")
    assert found == Small(
        ratio=0.0005, fold=False, formats=("c",), more=(("rk4", 2), ("euler", 1))
    )


@pytest.mark.parametrize(
    "given",
    [
        Small(),
        Small(fold=False, formats=(), output="a b"),
        Small(3, 1 / 3, True, "x", ("c",), (("rk4", 2), ("euler", 1))),
    ],
)
def test_a_flagfile_replays(given, tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text(option_table.flagfile(given))
    found = parsed(f"--flagfile={path}")
    assert found == given


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--count=0", r"--count: expected an integer in 1 \.\. 9. Received 0."),
        ("--count=1.5", r"--count: expected an integer in 1 \.\. 9. Received '1.5'."),
        ("--ratio=nan", "--ratio: expected a number > 0. Received nan."),
        ("--ratio=", "--ratio: expected a number > 0. Received ''."),
        ("--ratio=3", "--ratio: expected at most --count. Received 3.0."),
        ("--formats=a,a", "--formats: expected any of a, b, c, each once. .*'a,a'"),
        ("--formats=d", "--formats: expected any of a, b, c, each once. .*'d'"),
        ("--more=rk4", "--more: expected scheme:steps, like rk4:2 .*'rk4'"),
        ("--more=rk4:0", "--more: expected scheme:steps, like rk4:2 .*'rk4:0'"),
    ],
)
def test_bad_input_is_one_line(argument, message):
    with pytest.raises(OptionError, match=message) as error:
        parsed(argument)
    assert "\n" not in str(error.value)


def test_a_value_of_another_type_is_refused_in_python_too():
    with pytest.raises(OptionError, match="--count: .*Received 'two'"):
        Small(count="two")


def test_the_help_tells_what_is_expected_and_the_default():
    values = flags.FlagValues()
    option_table.define_flags(Small, values)
    assert values["count"].help == "Things; an integer in 1 .. 9. Default: 2."
    assert values["fold"].help == "Fold. Default: where it can."
    assert values["more"].help.endswith("Default: none.")
