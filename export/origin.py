"""The options of where an export starts: a run, or a .keras file and what it lacks."""

import dataclasses
import pathlib

from export.keras_file import File
from export.run import Run
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

    @property
    def origin(self) -> Run | File:
        """What to read the net from."""
        if self.model:
            return File(self.source, self.labels, self.mean, self.std)
        return Run(self.source)
