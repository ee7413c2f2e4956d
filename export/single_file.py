"""Exports a net to a single file: reads the net, builds, compares, then publishes.

options -> Job -> gated_export -> staging
"""

import pathlib

from cnet_tf.escaping import line
from export import gated_export
from export.formats.record import Format
from export.job import Job
from export.options import Export
from export.staging import Workspace


def to_file(options: Export, form: Format) -> pathlib.Path:
    """Writes <output>/<manifestation>[-<precision>].<form>, with its model card.

    Args:
        options: The options of a script.
        form: A format with a single file.

    Returns:
        The path of the file.

    Raises:
        OptionError, DataError: bad input, see `Job.read`, or a failed write.
        ParityError: the export does not agree with Keras. Nothing is left behind.
    """
    # First, so that an unwritable folder is found before the work starts.
    with Workspace(options.folder) as workspace:
        job = Job.read(options, form)
        name = f"{job.source.name}{job.suffix}"
        file, card = gated_export.write(job, workspace.folder, name)
        target = workspace.publish_file(file, name, card)
    print(f"Wrote {line(target)}")
    return target
