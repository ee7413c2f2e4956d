"""The option of all commands that read a data set."""

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
