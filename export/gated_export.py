"""One export: read a net, build it, read that back, compare, and only then publish.

run -> Source -> Format.build -> Format.reload -> parity -> model card -> staging
"""

import pathlib

from export import calibration, measure, model_card, parity, serving, staging
from export.description import describe
from export.formats.record import Format, Recipe
from export.source import Source, first_test_images, manifestation_name
from trainers.data import ImageData
from trainers.errors import OptionError


def read(values, form: Format) -> tuple[Source, ImageData]:
    """The net of `--run` as the flags ask for it, and its data. Writes nothing.

    Args:
        values: Parsed flags.
        form: Decides about folding where the flags do not.

    Raises:
        OptionError: no run, a damaged checkpoint, a net without what was asked for,
            other data than the run's, or an output folder that cannot be written.
        DataError: the data cannot be read.
    """
    others = getattr(values, "manifestations", None) or ()
    fold = form.folds and not others if values.fold is None else values.fold
    if fold and others:
        raise OptionError(
            "--fold: expected one manifestation. Received --manifestations too, and "
            "folded weights cannot be shared: leave one of the two out."
        )
    if values.recalibrate and others:
        raise OptionError(
            "--recalibrate: expected one manifestation. Received --manifestations too, "
            "which share their statistics: leave one of the two out."
        )
    staging.require_writable(staging.output_folder(values.run, values.output))
    source = Source.read(values.run).projected(values.basis_size)
    source = source.manifested(values.scheme, values.steps, others)
    data = source.load_data(values.data_dir)
    source = source.recalibrated(data, values.recalibrate)
    return source.folded() if fold else source, data


def write(
    form: Format,
    source: Source,
    recipe: Recipe,
    test: tuple,
    folder: pathlib.Path,
    *,
    name: str,
    license: str,
    parity_images: int,
    threads: int | None = None,
) -> tuple[pathlib.Path, str]:
    """Builds an artefact, prints how it compares with Keras, and checks its gate.

    Args:
        form, source, recipe: What to build.
        test: Test images and labels.
        folder: A `workspace`.
        name: How the artefact is called where it is used.
        license: Of the weights.
        parity_images: See `parity.compare`.
        threads: Of the runtime. Default: its own choice.

    Returns:
        The path of the artefact, in `folder`, and its model card.

    Raises:
        ParityError: it does not agree with Keras.
        OptionError: it cannot be written.
    """
    precision = form.precisions[recipe.precision]
    samples = recipe.samples if precision.calibrated else None
    description = describe(source, recipe.kind, recipe.precision, samples)
    path = form.build(source, recipe, description, folder)
    calls = form.reload(path, threads)
    feed = serving.feeder(source.data, recipe.kind)
    one, size = feed(test[0][:1]), staging.size_on_disk(path)
    results, rows = [], []
    for signature, net in source.nets.items():
        call = calls[signature]
        reference = serving.keras_logits(net, source.data)
        result = parity.compare(
            reference, lambda x, call=call: call(feed(x)), *test, parity_images
        )
        seconds = measure.latency(lambda call=call: call(one)).median
        results.append(result)
        rows.append(
            parity.row(manifestation_name(net), size, result, precision.gate, seconds)
        )
    print(parity.table(rows))
    for result in results:
        parity.check(result, precision.gate)
    card = model_card.card(
        name,
        form.title,
        form.usage,
        description,
        rows,
        source.run,
        dtype=form.image_dtype(path, recipe.kind),
        license=license,
        model=recipe.model,
    )
    return path, card


def to_file(values, form: Format) -> pathlib.Path:
    """Writes <output>/<manifestation>[-<precision>].<form>, with its model card.

    Args:
        values: Parsed flags.
        form: A format of one file.

    Returns:
        The path of the file.

    Raises:
        OptionError: bad input.
        ParityError: what was written does not agree with Keras. Nothing is left.
    """
    form.require_input(values.precision, values.input)
    output = staging.output_folder(values.run, values.output)
    source, data = read(values, form)
    test = first_test_images(data, values.accuracy_images)
    samples = test[0][:1]
    if form.precisions[values.precision].calibrated:
        samples = calibration.calibration_images(data, values.calibration_images)
    suffix = "" if values.precision == "float32" else f"-{values.precision}"
    target = output / f"{source.name}{suffix}.{form.name}"
    with staging.workspace(output) as folder:
        file, card = write(
            form,
            source,
            Recipe(values.input, values.precision, samples),
            test,
            folder,
            name=target.name,
            license=values.license,
            parity_images=values.parity_images,
            threads=values.threads,
        )
        staging.publish_file(file, target, card)
    print(f"Wrote {target}")
    return target
