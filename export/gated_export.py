"""Builds an artefact, reads it back, compares it with Keras and describes it.

Job -> Format.build -> Format.reload -> measure -> parity -> model card
"""

import pathlib

import numpy as np

from export import measure, model_card, parity, serving, staging
from export.description import describe
from export.formats.record import Format
from export.gate import check, row
from export.job import Job
from export.source import manifestation_name
from trainers import results

# Images on which a net's logits are checked before anything is built from it.
_LOOKED_AT = 64


def write(job: Job, folder: pathlib.Path, name: str) -> tuple[pathlib.Path, str]:
    """Builds an artefact, prints how it compares with Keras, and checks its gate.

    Args:
        job: What to build, and what to compare it on.
        folder: Folder of a `Workspace`.
        name: Name under which the artefact is used.

    Returns:
        The path of the artefact, in `folder`, and its model card.

    Raises:
        ParityError: it disagrees with Keras, or the logits of Keras are not finite.
        OptionError: it cannot be written.
    """
    form, source, recipe = job.form, job.source, job.recipe
    gate = form.precisions[recipe.precision].gate
    description = describe(
        source,
        recipe.kind,
        recipe.precision,
        recipe.samples if job.calibrated else None,
        recipe.outputs,
        recipe.batch,
    )
    for net in source.nets.values():
        first = serving.keras_logits(net, source.data)(job.images[:_LOOKED_AT])
        parity.check_usable(manifestation_name(net), first)
    with staging.temporary_files(folder):
        path = form.build(source, recipe, description, folder)
    # Timed on the requested number of threads, compared on all.
    calls = compared = form.reload(path, job.threads)
    if job.threads:
        compared = form.reload(path)
    feed = serving.feeder(source.data, recipe.kind)
    batch, size = recipe.batch or 1, staging.size_on_disk(path)
    timed = feed(np.resize(job.images, (batch, *job.images.shape[1:])))
    found, rows = [], []
    for signature, net in source.nets.items():
        timer, call = calls[signature], compared[signature]
        seconds = measure.latency(lambda timer=timer: timer(timed)).median
        result = parity.compare(
            serving.keras_logits(net, source.data),
            lambda pixels, call=call: call(feed(pixels)),
            job.images,
            job.labels,
            job.parity_images,
            serving.keras_graph(net, source.data),
        )
        found.append(result)
        named = manifestation_name(net)
        rows.append(row(named, size, result, gate, seconds, batch))
    print(results.table(rows))
    remark = form.remark(path, recipe.precision)
    for note in filter(None, (job.unmeasured, remark)):
        print(note)
    for result in found:
        check(result, gate, remedy(form, recipe.precision))
    card = model_card.card(
        name,
        form,
        description,
        rows,
        source.path,
        form.tensors(path),
        license=job.license,
        model=recipe.model,
        unmeasured=job.unmeasured,
        remark=remark,
    )
    return path, card


def remedy(form: Format, precision: str) -> str:
    """Suggests what to do about lost accuracy: a flag of the same command."""
    more = form.more_bits(precision)
    if not more:
        return "please report it"
    return f"keep more bits with --precision={' or '.join(more)}"
