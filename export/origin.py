"""The options of where an export starts: a run, or a .keras file and what it lacks."""

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

# What a run says itself, by option.
_OF_A_FILE = ("labels", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Origin(OptionTable):
    """The options of what is exported: `run` or `model`, never both."""

    COMBINATIONS = (
        file_or_run(lambda options: repr(options.run)),
        *map(of_a_file, _OF_A_FILE),
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
    mean: tuple[float, ...] = mean_of_pixels()
    std: tuple[float, ...] = std_of_pixels()

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
