"""Measures every manifestation of a net in every format and precision.

options -> Source -> Job -> Format.build -> Format.reload -> parity, measure -> row
"""

from collections.abc import Callable

from cnet_tf.surgery import blocks_of
from export import graph_cost, parity, serving, staging
from export.calibration import calibration_images
from export.compared_images import ComparedImages
from export.description import describe
from export.formats.record import Recipe
from export.job import Job
from export.measure import measure
from export.run import Run
from export.runtimes import SIGNATURE


def measured(options, parent, progress: Callable = lambda row: None) -> list[dict]:
    """Measures all artefacts that the options ask for.

    Args:
        options: Of `report`.
        parent: Folder to build artefacts in; none is left.
        progress: Called with every row. Default: does nothing.

    Returns:
        A row an artefact, see `row_of`.
    """
    trained = Run(options.source).read().projected(options.basis_size)
    data = trained.load_data(options.data_dir)
    test = ComparedImages(data).first(options.accuracy_images)
    samples = calibration_images(data, options.calibration_images)
    rows = []
    for scheme, steps in [(None, None), *_manifestations(options, trained.net)]:
        source = trained.manifested(scheme, steps)
        source = source.recalibrated(data, options.recalibrate)
        folded = source.folded()
        reference = remembered(serving.keras_logits(source.net, source.data))
        for form, precision in options.artefacts:
            job = Job(
                form,
                folded if form.folds else source,
                Recipe(options.input, precision, samples),
                *test,
                options.parity_images,
                options.threads,
            )
            row = row_of(job, reference, parent, options.runs)
            rows.append(row)
            progress(row)
    return rows


def _manifestations(options, net):
    """Lists those asked for, without the net's own, which comes first anyway."""
    own = [(block.scheme, block.steps) for block in blocks_of(net)]
    if not own:
        return []
    wanted = options.manifestations
    if wanted is None:
        wanted = [(scheme, own[0][1]) for scheme in ("euler", "midpoint")]
    return [pair for pair in wanted if set(own) != {pair}]


def row_of(job: Job, reference, parent, runs: int) -> dict:
    """Measures one artefact, built in a folder that is removed afterwards.

    Args:
        job: What to build, and what to compare it on.
        reference: Function of pixels to the logits of Keras.
        parent: The folder of that folder.
        runs: Timed runs of one image.
    """
    form, source, recipe = job.form, job.source, job.recipe
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
        path = form.build(source, recipe, description, workspace.folder)
        call = form.reload(path)[SIGNATURE]
        found = parity.compare(
            reference,
            lambda pixels: call(feed(pixels)),
            job.images,
            job.labels,
            job.parity_images,
        )
        one = feed(job.images[:1])
        cost = measure(form.reload, path, SIGNATURE, one, job.threads, runs)
        return {
            "manifestation": source.name,
            "format": form.name,
            "precision": recipe.precision,
            "accuracy_percent": round(100 * found.candidate_accuracy, 3),
            "keras_accuracy_percent": round(100 * found.reference_accuracy, 3),
            "images": found.images,
            "max_abs_delta_logits": float(f"{found.delta:.3g}"),
            "size_kb": round(staging.size_on_disk(path) / 1000, 1),
            "macs": graph_cost.macs(source.net, job.images.shape[1:]),
            "median_ms": _milliseconds(cost.median),
            "p5_ms": _milliseconds(cost.low),
            "p95_ms": _milliseconds(cost.high),
            "peak_memory_mb": round(cost.peak_memory / 1e6),
        }


def _milliseconds(seconds: float) -> float:
    """Four digits, however quick it is: small nets take hundredths."""
    return float(f"{1000 * seconds:.4g}")


def remembered(function):
    """Caches a function of pixels: it is called once for equal ones."""
    known = {}

    def call(pixels):
        key = pixels.shape, hash(pixels.tobytes())
        if key not in known:
            known[key] = function(pixels)
        return known[key]

    return call
