"""Options of commands that read images."""

from trainers.errors import OptionError
from trainers.option_kinds import text
from trainers.option_table import PROCESS, option


def data_dir():
    """Where the data are."""
    return option(
        None,
        text(),
        "Where TFDS keeps prepared sets; of 'folder:/path', the folder it was moved to",
        "$TFDS_DATA_DIR, else ~/tensorflow_datasets; the path",
        PROCESS,
    )


def per_channel(name: str, values: tuple[float, ...], channels: int) -> list[float]:
    """Numbers of pixels, a number a channel.

    Args:
        name: Of their option.
        values: One number, or one a channel.
        channels: Of the input of the model.

    Raises:
        OptionError: neither one number nor one a channel.
    """
    if len(values) not in (1, channels):
        raise OptionError(
            f"--{name}: expected one number, or {channels}, one a channel of --model. "
            f"Received {len(values)}."
        )
    return list(values) * (channels // len(values))
