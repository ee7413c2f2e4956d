"""Every numeric flag of every command: what is out of range is one line, early."""

import dataclasses
import importlib

import pytest
from absl import flags

from trainers import option_table
from trainers.errors import OptionError

COMMANDS = [
    importlib.import_module(name).Options
    for name in (
        "trainers.options",
        "trainers.evaluate",
        "trainers.benchmark",
        "trainers.dynamics",
        "trainers.ship",
        "export.saved_model",
        "export.tflite",
        "export.onnx_graph",
        "export.report",
        "export.web",
        "export.benchmark",
    )
]
HUGE = "99999999999999999999"


def numeric():
    """(table, flag) of all that take numbers, alone or in lists."""
    return [
        pytest.param(table, field.name, id=f"{table.__module__}-{field.name}")
        for table in COMMANDS
        for field in dataclasses.fields(table)
        if field.metadata["kind"].expected.startswith(("an integer", "a number", "int"))
        or field.metadata["kind"].expected.startswith("number")
    ]


@pytest.mark.parametrize(("table", "name"), numeric())
@pytest.mark.parametrize("text", [HUGE, "-" + HUGE, "1e400", "9" * 5000, "nan", "x"])
def test_what_overflows_or_is_no_number_is_refused(table, name, text):
    values = flags.FlagValues()
    option_table.define_flags(table, values)
    values(["test", f"--{name}={text}"])
    field = next(f for f in dataclasses.fields(table) if f.name == name)
    real = "number" in field.metadata["kind"].expected
    if real and text == HUGE and "[0, 1" not in field.metadata["kind"].expected:
        return  # A number of float32.
    if real and text == "-" + HUGE and field.metadata["kind"].expected == "a number":
        return
    with pytest.raises(OptionError, match=f"--{name}: expected ") as error:
        option_table.from_flags(table, values)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    if text == HUGE and not real:
        assert ", at most " in str(error.value) or " .. " in str(error.value)


def test_there_are_many():
    assert len(numeric()) > 50


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_every_seed_of_its_range_seeds(seed):
    import keras

    assert COMMANDS[0](seed=seed).seed == seed
    keras.utils.set_random_seed(seed)


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_no_number(value):
    for name in ("epochs", "learning_rate", "seed"):
        with pytest.raises(OptionError, match=f"--{name}: "):
            COMMANDS[0](**{name: value})


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({"learning_rate": 1e-50}, "at least 1.2e-38"),  # It would learn nothing.
        ({"ema": 1 - 1e-9}, "at most 0.9999999"),  # It would never move.
        ({"horizon": 2e6}, "at most 1e"),  # No net is read back with more.
        ({"stitch": -2e6}, "at most 1e"),
    ],
)
def test_what_float32_or_a_net_cannot_hold_is_refused(given, bound):
    with pytest.raises(OptionError, match=f"{bound}.*Received"):
        COMMANDS[0](**given)


def texts():
    """(table, flag) of all that take a text; not those that are empty by default."""
    return [
        (table, field.name)
        for table in COMMANDS
        for field in dataclasses.fields(table)
        if field.metadata["kind"].read is str or field.name == "run"
        if field.default != ""
    ]


@pytest.mark.parametrize("text", ["", " "])
def test_the_value_of_an_unset_variable_is_refused(text):
    """As in --model=$MODEL, which would train another net."""
    assert len(texts()) > 20
    for table, name in texts():
        values = flags.FlagValues()
        option_table.define_flags(table, values)
        values(["test", f"--{name}={text}"])
        with pytest.raises(OptionError, match=f"--{name}: expected .* Received"):
            option_table.from_flags(table, values)
