"""Options of commands that read images and a net, from a run or a file."""

from trainers.errors import OptionError
from trainers.option_kinds import list_of, number, text
from trainers.option_table import PROCESS, option

LATEST = "runs/latest"


def data_dir():
    """Returns the option --data_dir: where the data are."""
    return option(
        None,
        text(),
        "Where TFDS keeps prepared sets; for 'folder:/path', the folder it moved to",
        "$TFDS_DATA_DIR, else ~/tensorflow_datasets; the path",
        PROCESS,
    )


def mean_of_pixels():
    """Returns the option --mean: what was subtracted from the pixels in training."""
    return option(
        (),
        list_of(number()),
        "Mean of the pixels, scaled to 0..1, that --model was trained with: one number "
        "or one per channel",
        "0",
    )


def std_of_pixels():
    """Returns the option --std: what the pixels were then divided by."""
    return option(
        (),
        list_of(number("> 0")),
        "Standard deviation of the pixels that --model was trained with, as --mean",
        "1",
    )


def file_or_run(runs):
    """Returns the combination: --model and --run exclude one another.

    Args:
        runs: Function from the options to the text of --run.
    """
    return (
        "model",
        lambda options: options.model and options.run,
        lambda options: (
            f"expected either a file or --run. Received {options.model!r} and "
            f"{runs(options)}: leave one of the two out."
        ),
    )


def of_a_file(name):
    """Returns the combination: that option needs --model."""
    return (
        name,
        lambda options: getattr(options, name) and not options.model,
        lambda options: (
            "expected --model=my.keras with it. Received none: leave the flag out, as "
            "a run records this itself."
        ),
    )


def per_channel(name: str, values: tuple[float, ...], channels: int) -> list[float]:
    """Returns the numbers of a pixel option, one per channel.

    Args:
        name: Name of the option.
        values: One number, or one per channel.
        channels: Channels of the model's input.

    Raises:
        OptionError: neither one number nor one per channel.
    """
    if len(values) not in (1, channels):
        raise OptionError(
            f"--{name}: expected one number, or {channels}, one per channel of --model."
            f" Received {len(values)}."
        )
    return list(values) * (channels // len(values))
