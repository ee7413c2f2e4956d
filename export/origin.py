"""Where an export starts: a run, or a .keras file with what such a file leaves open."""

import dataclasses
import os
import pathlib

from cnet_tf import plain_file
from export.keras_file import read_model
from export.source import Source
from trainers.data.class_names import MOST_LETTERS, is_name
from trainers.errors import OptionError
from trainers.option_kinds import list_of, number, run_folder, text
from trainers.option_table import OptionTable, option

LATEST = "runs/latest"
# What a run says itself, by option.
_OF_A_FILE = ("labels", "mean", "std")


def _alone(name):
    """Refuses an option of --model where there is none."""
    return (
        name,
        lambda options: getattr(options, name) and not options.model,
        lambda options: (
            "expected --model=my.keras with it. Received none: a run says this itself, "
            "leave the flag out."
        ),
    )


@dataclasses.dataclass(frozen=True)
class Origin(OptionTable):
    """The options of what is exported: `run` or `model`, never both."""

    COMBINATIONS = (
        (
            "model",
            lambda options: options.model and options.run,
            lambda options: (
                f"expected either a file or --run. Received {options.model!r} and "
                f"{options.run!r}: leave one of the two out."
            ),
        ),
        *map(_alone, _OF_A_FILE),
    )

    run: str | None = option(
        None,
        run_folder(),
        "What to export",
        f"{LATEST}, or none with --model",
    )
    model: str | None = option(
        None, text(), "A .keras file to export instead of a run", "none"
    )
    labels: str | None = option(
        None,
        text(),
        "Names of the classes of --model, separated by commas, or a file with one a "
        "line",
        "their numbers",
    )
    mean: tuple[float, ...] = option(
        (),
        list_of(number()),
        "Mean of the pixels, scaled to 0..1, that --model was trained with: one number "
        "or one a channel",
        "0",
    )
    std: tuple[float, ...] = option(
        (), list_of(number("> 0")), "Their standard deviation, in the same way", "1"
    )

    @property
    def source(self) -> pathlib.Path:
        """The file or the run."""
        return pathlib.Path(self.model or self.run or LATEST)


def class_names(options: Origin, classes: int) -> list[str]:
    """The names of the classes of `--model`, by number.

    Raises:
        OptionError: not a name for each class, or a name twice.
    """
    given = options.labels
    if given is None:
        return [str(i) for i in range(classes)]
    if os.path.isfile(given):  # Many names are too long for a path of `pathlib`.
        try:
            names = plain_file.read_text(given, follow=True).splitlines()
        except plain_file.PlainFileError as error:
            raise OptionError(
                f"--labels: expected a text file in UTF-8. {error}"
            ) from error
    else:
        names = given.split(",")
    names = [name.strip() for name in names if name.strip()]
    if len(names) != classes or len(set(names)) < classes:
        raise OptionError(
            f"--labels: expected {classes} different names, one a class of --model. "
            f"Received {len(set(names))} in {given!r}: name them in order, separated "
            "by commas or one a line of a file."
        )
    strange = [name for name in names if not is_name(name)]
    if strange:
        raise OptionError(
            f"--labels: expected names of at most {MOST_LETTERS} characters, none of "
            f"control. Received {strange[0]!r}: rename it."
        )
    return names


def per_channel(options: Origin, name: str, channels: int) -> list[float]:
    """`--mean` or `--std`, a number a channel.

    Args:
        options: With `model`.
        name: `"mean"`, which is 0 by default, or `"std"`, which is 1.
        channels: Of the input of the model.

    Raises:
        OptionError: neither one number nor one a channel.
    """
    values = getattr(options, name) or ({"mean": 0.0, "std": 1.0}[name],)
    if len(values) not in (1, channels):
        raise OptionError(
            f"--{name}: expected one number, or {channels}, one a channel of --model. "
            f"Received {len(values)}."
        )
    return list(values) * (channels // len(values))


def read(options: Origin) -> Source:
    """The net of `--run` or `--model`.

    Raises:
        OptionError: see `Source.read` and `read_model`; a model of other inputs than
            images, or of other labels, mean or std.
    """
    if not options.model:
        return Source.read(options.source)
    model = read_model(options.model)
    if len(model.input_shape) != 4:
        raise OptionError(
            "--model: expected a model of images (batch, height, width, channels). "
            f"Received one of inputs {model.input_shape}: export it with Keras' own "
            "`model.export`."
        )
    *_, channels = model.input_shape
    return Source.of_file(
        options.model,
        model,
        class_names(options, model.output_shape[-1]),
        *(per_channel(options, name, channels) for name in ("mean", "std")),
    )
