"""Exports a net to a single file: reads the net, builds, compares, then publishes.

options -> Job -> gated_export -> staging
"""

import pathlib

from cnet_tf.escaping import line
from export import gated_export, staging
from export.formats.record import Format
from export.job import Job
from export.options import Export


def to_file(options: Export, form: Format) -> pathlib.Path:
    """Writes <output>/<manifestation>[-<precision>].<form>, with its model card.

    Args:
        options: Of a script.
        form: A format of one file.

    Returns:
        The path of the file.

    Raises:
        OptionError, DataError: bad input, see `Job.read`, or a failed write.
        ParityError: what was written does not agree with Keras. Nothing is left.
    """
    # First, so that a folder that cannot be written is found before the work.
    with staging.workspace(options.folder) as folder:
        job = Job.read(options, form)
        target = options.folder / f"{job.source.name}{job.suffix}"
        file, card = gated_export.write(job, folder, target.name)
        staging.publish_file(file, target, card)
    print(f"Wrote {line(target)}")
    return target
