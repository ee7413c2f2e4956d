"""One export: build it, read it back, compare, and only then publish.

Job -> Format.build -> Format.reload -> parity -> model card -> staging
"""

import pathlib

from export import measure, model_card, parity, serving, staging
from export.description import describe
from export.job import Job
from export.source import manifestation_name


def write(job: Job, folder: pathlib.Path, name: str) -> tuple[pathlib.Path, str]:
    """Builds an artefact, prints how it compares with Keras, and checks its gate.

    Args:
        job: What to build, and what to compare it on.
        folder: A `workspace`.
        name: How the artefact is called where it is used.

    Returns:
        The path of the artefact, in `folder`, and its model card.

    Raises:
        ParityError: it does not agree with Keras.
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
    path = form.build(source, recipe, description, folder)
    calls = form.reload(path, job.threads)
    feed = serving.feeder(source.data, recipe.kind)
    one, size = feed(job.images[:1]), staging.size_on_disk(path)
    results, rows = [], []
    for signature, net in source.nets.items():
        call = calls[signature]
        result = parity.compare(
            serving.keras_logits(net, source.data),
            lambda pixels, call=call: call(feed(pixels)),
            job.images,
            job.labels,
            job.parity_images,
        )
        seconds = measure.latency(lambda call=call: call(one)).median
        results.append(result)
        rows.append(parity.row(manifestation_name(net), size, result, gate, seconds))
    print(parity.table(rows))
    for result in results:
        parity.check(result, gate)
    card = model_card.card(
        name,
        form.title,
        form.usage,
        description,
        rows,
        source.run,
        dtype=form.image_dtype(path, recipe.kind),
        license=job.license,
        model=recipe.model,
    )
    return path, card


def to_file(job: Job, output: pathlib.Path) -> pathlib.Path:
    """Writes <output>/<manifestation>[-<precision>].<form>, with its model card.

    Args:
        job: Of a format of one file.
        output: Made if it is missing.

    Returns:
        The path of the file.

    Raises:
        OptionError: it cannot be written.
        ParityError: what was written does not agree with Keras. Nothing is left.
    """
    target = output / f"{job.source.name}{job.suffix}"
    with staging.workspace(output) as folder:
        file, card = write(job, folder, target.name)
        staging.publish_file(file, target, card)
    print(f"Wrote {target}")
    return target
