"""The options of a command: a frozen dataclass that defines its flags.

    @dataclasses.dataclass(frozen=True)
    class Options(OptionTable):
        epochs: int = option(30, integer(1), "Epochs")
        nodes: tuple[int, ...] = option((), list_of(integer(1)), "K, a number a block")

    if __name__ == "__main__":
        run(lambda options: print(options.epochs), Options)

A table checks itself at construction, so every existing `Options` is valid. Bad input
gives a one-line error, whether it comes from Python or from the command line:
`--epochs: expected an integer >= 1. Received 0.`
"""

import dataclasses
import sys
from typing import Any, ClassVar, NoReturn

import keras
from absl import flags

from trainers import flag_files
from trainers.errors import OptionError, run_command
from trainers.option_kinds import Kind

# What an option decides, see `option`.
NUMBERS, COURSE, PROCESS = "numbers", "course", "process"
_SHOWN = 200  # Characters of a value shown in a message.


def option(
    default, kind: Kind, text: str, shown: str | None = None, decides: str = NUMBERS
) -> Any:
    """Declares a field of an `OptionTable`.

    Args:
        default: Its value if the option is not given; None needs `shown`.
        kind: Its allowed values, besides a default of None.
        text: What it does, without a final full stop; `--help` adds what `kind`
            expects and the default.
        shown: The default in words, if its value does not speak for itself.
        decides: `NUMBERS` (default): what is computed. `COURSE`: not that, but what
            processes that compute together do next. `PROCESS`: neither.
    """
    metadata = {"kind": kind, "text": text, "shown": shown, "decides": decides}
    return dataclasses.field(default=default, metadata=metadata)


def excluded(name, by, what, remedy="leave one of the two out") -> tuple:
    """Returns a combination that refuses an option where something excludes it.

    Args:
        name: Name of the option.
        by: Function of the options: whether something excludes it.
        what: What excludes it, and why, for the message.
        remedy: What the user should do.
    """
    return (
        name,
        lambda options: by(options) and getattr(options, name),
        lambda options: (
            f"expected none with {what}. Received {getattr(options, name)!r}: {remedy}."
        ),
    )


@dataclasses.dataclass(frozen=True)
class OptionTable:
    """Base class for the options of a command.

    Attributes:
        COMBINATIONS: Tuples (option, wrong, why) for options that exclude each other;
            `wrong` and `why` are functions of the table that return a truth value and
            a text.

    Raises:
        OptionError: at construction; names the flag, what was expected and received.
    """

    COMBINATIONS: ClassVar[tuple] = ()

    def __post_init__(self):
        for field in dataclasses.fields(self):
            kind, value = field.metadata["kind"], getattr(self, field.name)
            if value is not None and not kind.holds(value):
                received = kind.show(value) if isinstance(value, tuple) else value
                raise _refused(field.name, kind, received, kind.most(value))
        for name, wrong, why in self.COMBINATIONS:
            if wrong(self):
                raise OptionError(f"--{name}: {why(self)}")


def define_flags(table: type[OptionTable], flag_values=flags.FLAGS) -> None:
    """Defines a flag of the program for each option.

    A function rather than module-level code: absl accepts a name only once per process,
    and several commands have a --data_dir.
    """
    # --help lists the flags of the program, which are those of its main module.
    settings = {"flag_values": flag_values, "module_name": sys.argv[0]}
    for field in dataclasses.fields(table):
        kind, default = field.metadata["kind"], field.default
        if kind.switch:
            flags.DEFINE_boolean(field.name, default, _help(field), **settings)
        else:
            # As text: `from_flags` reads it, so that all bad values give the same line.
            default = None if default is None else kind.show(default)
            flags.DEFINE_string(field.name, default, _help(field), **settings)


def from_flags(table: type[OptionTable], flag_values=flags.FLAGS) -> OptionTable:
    """Returns the options that the parsed flags give.

    Raises:
        OptionError: see `OptionTable`.
    """
    values = {}
    for field in dataclasses.fields(table):
        kind, value = field.metadata["kind"], flag_values[field.name].value
        if isinstance(value, str):
            try:
                value = kind.read(value)
            except ValueError:
                raise _refused(field.name, kind, value) from None
        values[field.name] = value
    return table(**values)


def flagfile(options: OptionTable) -> str:
    """Returns the content of a --flagfile that reproduces the options."""
    lines = []
    for field in dataclasses.fields(options):
        kind, value = field.metadata["kind"], getattr(options, field.name)
        if kind.switch and value is not None:
            lines.append(f"--{'' if value else 'no'}{field.name}")
        elif value is not None:
            lines.append(f"--{field.name}={flag_files.quoted(kind.show(value))}")
    return "".join(f"{line}\n" for line in lines)


def run(
    main, table: type[OptionTable], failures=(), backends=("tensorflow",)
) -> NoReturn:
    """Runs `main(options)` as a program; see `run_command`.

    Args:
        main, failures: See `run_command`.
        table: The options of the program.
        backends: Keras backends that it can run on.
    """
    define_flags(table)

    def checked():
        if (found := keras.backend.backend()) not in backends:
            raise OptionError(
                f"KERAS_BACKEND: expected {' or '.join(backends)}. Received {found!r}: "
                "set it to another, or leave it out."
            )
        main(from_flags(table))

    run_command(checked, failures)


def _help(field) -> str:
    kind, shown = field.metadata["kind"], field.metadata["shown"]
    expected = f"; {kind.expected}" if kind.expected and not kind.switch else ""
    if shown is None:
        shown = kind.show(field.default) or "none"
    return f"{field.metadata['text']}{expected}. Default: {shown}."


def _refused(name, kind, received, most=""):
    shown = repr(received)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}.. ({len(shown)} characters)"
    return OptionError(f"--{name}: expected {kind.expected}{most}. Received {shown}.")
