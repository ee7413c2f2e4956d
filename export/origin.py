"""Options for the origin of an export: a run, or a .keras file and what it lacks."""

import dataclasses
import pathlib

from export.keras_file import File
from export.run import Run
from trainers.data_option import (
    LATEST,
    file_or_run,
    mean_of_pixels,
    of_a_file,
    std_of_pixels,
)
from trainers.option_kinds import run_folder, text
from trainers.option_table import OptionTable, option

# Options for what a run itself records.
_OF_A_FILE = ("labels", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Origin(OptionTable):
    """Options for what is exported: `run` or `model`, never both."""

    COMBINATIONS = (
        file_or_run(lambda options: repr(options.run)),
        *map(of_a_file, _OF_A_FILE),
    )

    run: str | None = option(
        None,
        run_folder(),
        "The net to export",
        f"{LATEST}, or none with --model",
    )
    model: str | None = option(
        None, text(), "A .keras file to export instead of a run", "none"
    )
    labels: str | None = option(
        None,
        text(),
        "Class names of --model, separated by commas, or a file with one per line",
        "their numbers",
    )
    mean: tuple[float, ...] = mean_of_pixels()
    std: tuple[float, ...] = std_of_pixels()

    @property
    def source(self) -> pathlib.Path:
        """The file or the run."""
        return pathlib.Path(self.model or self.run or LATEST)

    @property
    def origin(self) -> Run | File:
        """The reader of the net."""
        if self.model:
            return File(self.source, self.labels, self.mean, self.std)
        return Run(self.source)
