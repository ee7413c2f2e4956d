"""One artefact: builds it, reads it back, compares it with Keras, describes it.

Job -> Format.build -> Format.reload -> measure -> parity -> model card
"""

import pathlib

from export import measure, model_card, parity, serving, staging
from export.description import describe
from export.job import Job
from export.source import manifestation_name

# Images on which a net is looked at before anything is built of it.
_LOOKED_AT = 64


def write(job: Job, folder: pathlib.Path, name: str) -> tuple[pathlib.Path, str]:
    """Builds an artefact, prints how it compares with Keras, and checks its gate.

    Args:
        job: What to build, and what to compare it on.
        folder: A `workspace`.
        name: Name of the artefact where it is used.

    Returns:
        The path of the artefact, in `folder`, and its model card.

    Raises:
        ParityError: it does not agree with Keras, or Keras gives no numbers.
        OptionError: it cannot be written.
    """
    form, source, recipe = job.form, job.source, job.recipe
    gate = form.precisions[recipe.precision].gate
    description = describe(
        source,
        recipe.kind,
        recipe.precision,
        recipe.samples if job.calibrated else None,
    )
    for net in source.nets.values():
        first = serving.keras_logits(net, source.data)(job.images[:_LOOKED_AT])
        parity.check_usable(manifestation_name(net), first)
    path = form.build(source, recipe, description, folder)
    calls = form.reload(path, job.threads)
    feed = serving.feeder(source.data, recipe.kind)
    one, size = feed(job.images[:1]), staging.size_on_disk(path)
    results, rows = [], []
    for signature, net in source.nets.items():
        call = calls[signature]
        seconds = measure.latency(lambda call=call: call(one)).median
        result = parity.compare(
            serving.keras_logits(net, source.data),
            lambda pixels, call=call: call(feed(pixels)),
            job.images,
            job.labels,
            job.parity_images,
        )
        results.append(result)
        rows.append(parity.row(manifestation_name(net), size, result, gate, seconds))
    print(parity.table(rows))
    if job.unmeasured:
        print(job.unmeasured)
    for result in results:
        parity.check(result, gate)
    card = model_card.card(
        name,
        form.title,
        form.usage,
        description,
        rows,
        source.path,
        dtype=form.image_dtype(path, recipe.kind),
        license=job.license,
        model=recipe.model,
        unmeasured=job.unmeasured,
    )
    return path, card
