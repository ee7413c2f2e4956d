"""One export to make, read from its options once; nothing after it knows options.

options -> Run | File, Change, Wanted, Recipe -> net, images -> Job
"""

import dataclasses

import numpy as np

from export.calibration import calibration_images
from export.compared_images import ComparedImages, Wanted, chosen
from export.formats.record import Format, Recipe
from export.options import Export
from export.serving import ARRAYS, ENCODED_CHANNELS, INPUTS
from export.source import Change, Source
from trainers.errors import OptionError


@dataclasses.dataclass(frozen=True)
class Job:
    """What to build and what to compare it on.

    Attributes:
        form, source, recipe: What to build.
        images, labels: uint8 (B, H, W, C) and int64 (B,): the images on which the
            export is compared with Keras. Labels are None of images that have none.
        parity_images: See `parity.compare`.
        threads: Of the runtime, or None for its own choice.
        license: Of the weights.
        unmeasured: A sentence on what could not be measured; empty if all was.
    """

    form: Format
    source: Source
    recipe: Recipe
    images: np.ndarray
    labels: np.ndarray | None
    parity_images: int
    threads: int | None = None
    license: str = "unspecified"
    unmeasured: str = ""

    @classmethod
    def read(cls, options: Export, form: Format) -> "Job":
        """Reads the net of `--run` or `--model`, changed as asked, and its data.

        Options end here: every part of them goes to the one that knows what it means.

        Args:
            options: Of a script.
            form: Decides about folding where the options do not.

        Raises:
            OptionError: no run, a damaged checkpoint, a net without what was asked for,
                or no images to learn from.
            DataError: the data cannot be read, or are others than the run's.
        """
        calibrated = form.precisions[options.precision].calibrated
        alone = not options.manifestations
        change = Change(
            options.basis_size,
            options.scheme,
            options.steps,
            options.beside,
            options.recalibrate,
            form.folds and alone if options.fold is None else options.fold,
        )
        wanted = Wanted(
            options.images,
            options.data_dir,
            options.accuracy_images,
            options.precision,
            options.calibration_images if calibrated else 0,
            options.recalibrate,
        )
        recipe = Recipe(
            options.input,
            options.precision,
            model=options.model_name,
            outputs=options.outputs,
            batch=options.batch,
            float_outputs=options.float_outputs,
        )
        source, compared = _read(options.origin, change, wanted, recipe.kind)
        images, labels = samples, _ = compared.first(wanted.compared)
        if calibrated:
            samples = calibration_images(compared.data, wanted.learned)
        return cls(
            form,
            source,
            dataclasses.replace(recipe, samples=samples),
            images,
            labels,
            options.parity_images,
            options.threads,
            options.license,
            compared.unmeasured,
        )

    @property
    def calibrated(self) -> bool:
        """Whether the artefact learns integer ranges from `recipe.samples`."""
        return self.form.precisions[self.recipe.precision].calibrated

    @property
    def suffix(self) -> str:
        """What the name of a file ends with: `[-<precision>].<form>`."""
        precision = self.recipe.precision
        return f"{'' if precision == 'float32' else f'-{precision}'}.{self.form.name}"


def _read(origin, change, wanted, kind) -> tuple[Source, ComparedImages]:
    """The net as it is exported, and what it is compared on."""
    source = origin.read().projected(change.basis_size)
    source = source.manifested(change.scheme, change.steps)
    source = source.manifested(others=change.beside(source.net))
    _check_channels(source.data["image_shape"][-1], kind)
    compared = chosen(source.data, wanted)
    source = source.recalibrated(compared.data, change.recalibrate)
    return source.folded() if change.fold else source, compared


def _check_channels(channels: int, kind: str) -> None:
    if INPUTS[kind].encoded and channels not in ENCODED_CHANNELS:
        raise OptionError(
            f"--input: expected one of {', '.join(ARRAYS)}, as JPEG and PNG files have "
            f"{', '.join(map(str, ENCODED_CHANNELS))} channels. Received {kind!r} for "
            f"images of {channels}: choose another."
        )
