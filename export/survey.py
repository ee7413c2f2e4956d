"""Measures every manifestation of a net in every format and precision.

options -> Source -> Job -> Format.build -> Format.reload -> parity, measure -> row
"""

from collections.abc import Callable

import numpy as np

from cnet_tf.surgery import blocks_of
from export import graph_cost, parity, serving, staging
from export.calibration import calibration_images
from export.compared_images import Wanted, chosen
from export.description import describe
from export.formats.record import Recipe
from export.gate import passes
from export.job import Job, check_channels
from export.measure import measure
from export.runtimes import SIGNATURE
from trainers import results


def measured(
    options, parent, progress: Callable = lambda row: None
) -> tuple[list[dict], str]:
    """Measures all artefacts that the options ask for.

    Args:
        options: Options of `report`.
        parent: Folder to build artefacts in; none is kept.
        progress: Called with every row. Default: does nothing.

    Returns:
        One row per artefact, see `row_of`, and a sentence on what could not be
        measured, empty if everything was.
    """
    trained = options.origin.read().projected(options.basis_size)
    trained = trained.reading(options.restriction)
    check_channels(trained.data["image_shape"][-1], options.input)
    gates = [form.precisions[precision].gate for form, precision in options.artefacts]
    count = options.accuracy_images or max(gate.usual_images for gate in gates)
    compared = chosen(
        trained.data,
        Wanted(
            options.images,
            options.data_dir,
            count,
            _asked(options),
            options.calibration_images,
            options.recalibrate,
        ),
    )
    images, truth = compared.first(count)
    labels = truth
    if truth is None:  # Labels of the net as trained replace them.
        logits = serving.keras_logits(trained.net, trained.data)
        labels = np.concatenate(
            [logits(batch).argmax(-1) for batch in parity.split(images)]
        )
    artefacts, unlearned = _possible(options, compared)
    samples = images  # A server warms up with them.
    if any(_calibrated(*artefact) for artefact in artefacts):
        samples = calibration_images(compared.data, options.calibration_images)
    rows = []
    for scheme, steps in [(None, None), *_manifestations(options, trained.net)]:
        source = trained.manifested(scheme, steps)
        source = source.recalibrated(compared.data, options.recalibrate)
        folded = source.folded()
        references = [
            remembered(run(source.net, source.data))
            for run in (serving.keras_logits, serving.keras_graph)
        ]
        for form, precision in artefacts:
            job = Job(
                form,
                folded if form.folds else source,
                Recipe(options.input, precision, samples),
                images,
                labels,
                options.parity_images,
                options.threads,
            )
            row = row_of(job, references, parent, options.runs, truth is not None)
            rows.append(row)
            progress(row)
    return rows, " ".join(filter(None, (compared.unmeasured, unlearned)))


def _calibrated(form, precision) -> bool:
    return form.precisions[precision].calibrated


def _asked(options):
    """Returns `Wanted.asked`: a calibrated precision that was requested by name."""
    asked = (p for form, p in options.artefacts if _calibrated(form, p))
    return next((("precisions", p) for p in asked if options.precisions), None)


def _possible(options, compared) -> tuple[list, str]:
    """Returns the artefacts that the images allow, and a sentence on the others."""
    artefacts = options.artefacts
    if options.precisions or compared.learnable:
        return artefacts, ""
    left = [artefact for artefact in artefacts if not _calibrated(*artefact)]
    names = dict.fromkeys(p for form, p in artefacts if _calibrated(form, p))
    if not names:
        return left, ""
    return (
        left,
        f"{', '.join(names)}: left out, as there are too few images to learn from.",
    )


def _manifestations(options, net):
    """Lists the requested ones without the net's own, which comes first anyway."""
    own = [(block.scheme, block.steps) for block in blocks_of(net)]
    if not own:
        return []
    wanted = options.manifestations
    if wanted is None:
        wanted = [(scheme, own[0][1]) for scheme in ("euler", "midpoint")]
    return [pair for pair in wanted if set(own) != {pair}]


def row_of(job: Job, references, parent, runs: int, labelled: bool = True) -> dict:
    """Measures one artefact, built in a folder that is removed afterwards.

    Args:
        job: What to build, and what to compare it on.
        references: Two functions from pixels to the logits of Keras: layer by layer,
            and as a graph, see `parity.compare`.
        parent: Where that folder is created.
        runs: Timed runs of one image.
        labelled: Whether labels are what images show. Default: yes. Otherwise they come
            from the net as trained, and no accuracy is known.
    """
    form, source, recipe = job.form, job.source, job.recipe
    reference, voter = references
    feed = serving.feeder(source.data, recipe.kind)
    description = describe(
        source,
        recipe.kind,
        recipe.precision,
        recipe.samples if job.calibrated else None,
        recipe.outputs,
        recipe.batch,
    )
    parity.check_usable(source.name, reference(job.images[:1]))
    with staging.Workspace(parent) as workspace:
        with staging.temporary_files(workspace.folder):
            path = form.build(source, recipe, description, workspace.folder)
        call = form.reload(path)[SIGNATURE]
        found = parity.compare(
            reference,
            lambda pixels: call(feed(pixels)),
            job.images,
            job.labels,
            job.parity_images,
            voter,
        )
        one = feed(job.images[:1])
        cost = measure(form.reload, path, SIGNATURE, one, job.threads, runs)
        return {
            "manifestation": source.name,
            "format": form.name,
            "precision": recipe.precision,
            **_scores(found, labelled),
            "images": found.images,
            "max_abs_delta_logits": float(f"{found.delta:.3g}"),
            "passes_gate": passes(found, form.precisions[recipe.precision].gate),
            "size_kb": round(staging.size_on_disk(path) / 1000, 1),
            "macs": graph_cost.macs(source.net, job.images.shape[1:]),
            "median_ms": _milliseconds(cost.median),
            "p5_ms": _milliseconds(cost.low),
            "p95_ms": _milliseconds(cost.high),
            "peak_memory_mb": round(cost.peak_memory / 1e6),
        }


def _scores(found, labelled: bool) -> dict:
    """Returns scores, None if not measured: every report has the same columns."""
    shares = found.candidate_accuracy, found.reference_accuracy
    scores = [round(100 * share, 3) for share in shares]
    accuracies, same = (scores, [None] * 2) if labelled else ([None] * 2, scores)
    return {
        "accuracy_percent": accuracies[0],
        "keras_accuracy_percent": accuracies[1],
        "same_label_percent": same[0],
        "keras_same_label_percent": same[1],
    }


def _milliseconds(seconds: float) -> float:
    """Returns milliseconds to four digits, as small nets take hundredths."""
    return results.digits(1000 * seconds)


def remembered(function):
    """Caches a function of pixels, which is called once for equal pixels."""
    known = {}

    def call(pixels):
        key = pixels.shape, hash(pixels.tobytes())
        if key not in known:
            known[key] = function(pixels)
        return known[key]

    return call
