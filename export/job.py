"""One export to make, read from its options once; nothing after it knows options.

options -> Source -> data -> Job
"""

import dataclasses

import numpy as np

from export import compared_images, origin
from export.calibration import calibration_images
from export.formats.record import Format, Recipe
from export.options import Export
from export.serving import ARRAYS, ENCODED_CHANNELS, INPUTS
from export.source import Source
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

        Args:
            options: Of a script.
            form: Decides about folding where the options do not.

        Raises:
            OptionError: no run, a damaged checkpoint, a net without what was asked for,
                or no images to learn from.
            DataError: the data cannot be read, or are others than the run's.
        """
        source = origin.read(options).projected(options.basis_size)
        source = source.manifested(
            options.scheme, options.steps, options.manifestations
        )
        check_channels(source.data["image_shape"][-1], options.input)
        calibrated = form.precisions[options.precision].calibrated
        learned = ("precision", options.precision) if calibrated else None
        compared = compared_images.chosen(source, options, learned)
        source = source.recalibrated(compared.data, options.recalibrate)
        alone = not options.manifestations
        if form.folds and alone if options.fold is None else options.fold:
            source = source.folded()
        images, labels = samples, _ = compared.first(options.accuracy_images)
        if calibrated:
            samples = calibration_images(compared.data, options.calibration_images)
        return cls(
            form,
            source,
            Recipe(
                options.input,
                options.precision,
                samples,
                model=options.model_name,
                outputs=options.outputs,
                batch=options.batch,
                float_outputs=options.float_outputs,
            ),
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


def check_channels(channels: int, kind: str) -> None:
    """Raises OptionError unless files of an encoded input have that many channels."""
    if INPUTS[kind].encoded and channels not in ENCODED_CHANNELS:
        raise OptionError(
            f"--input: expected one of {', '.join(ARRAYS)}, as JPEG and PNG files have "
            f"{', '.join(map(str, ENCODED_CHANNELS))} channels. Received {kind!r} for "
            f"images of {channels}: choose another."
        )
