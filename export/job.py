"""One export job, read from its options once; later stages never see options.

options -> Net, Wanted (images), Recipe -> Source, ComparedImages -> Job
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from export.calibration import calibration_images
from export.compared_images import Wanted, chosen
from export.formats.record import Format, Recipe
from export.keras_file import File
from export.options import Export
from export.run import Run
from export.serving import ARRAYS, ENCODED_CHANNELS, INPUTS
from export.source import Source
from trainers.errors import OptionError
from trainers.option_kinds import of_blocks


@dataclasses.dataclass(frozen=True)
class Net:
    """The net to export: its origin and the changes to make to it.

    Attributes:
        origin: Where it is read from.
        basis_size, restriction, scheme: For all blocks; None keeps them as trained.
        steps: N of all blocks, or one per block; None keeps it as trained.
        beside: Function from the net to the pairs (scheme, steps) exported beside it.
        fold: Whether to fold everything that can be folded.
    """

    origin: Run | File
    basis_size: int | None
    restriction: str | None
    scheme: str | None
    steps: int | tuple[int, ...] | None
    beside: Callable[[keras.Model], tuple]
    fold: bool


@dataclasses.dataclass(frozen=True)
class Job:
    """What to build and what to compare it on.

    Attributes:
        form, source, recipe: What to build.
        images, labels: The images on which the export is compared with Keras, uint8
            (B, H, W, C), and their labels, int64 (B,) or None if unknown.
        parity_images: See `parity.compare`.
        threads: Threads of the runtime during timing; None means all.
        license: Licence of the weights.
        unmeasured: A sentence on what could not be measured; empty if everything was.
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
        """Reads the net of `--run` or `--model`, changed as requested, and its data.

        Options end here: each one goes to the object that interprets it.

        Args:
            options: The options of a script.
            form: The format; decides about folding unless the options do.

        Raises:
            OptionError: no run, a damaged checkpoint, a net that cannot be changed as
                requested, or no images to learn from.
            DataError: the data cannot be read or differ from the run's.
        """
        calibrated = form.precisions[options.precision].calibrated
        alone = not options.manifestations
        net = Net(
            options.origin,
            options.basis_size,
            options.restriction,
            options.scheme,
            of_blocks(options.steps),
            options.beside,
            form.folds and alone if options.fold is None else options.fold,
        )
        wanted = Wanted(
            options.images,
            options.data_dir,
            options.accuracy_images
            or form.precisions[options.precision].gate.usual_images,
            ("precision", options.precision) if calibrated else None,
            options.calibration_images if calibrated else None,
            options.recalibrate,
            train=calibrated or options.recalibrate > 0,
        )
        recipe = Recipe(
            options.input,
            options.precision,
            model=options.model_name,
            outputs=options.outputs,
            batch=options.batch,
            float_outputs=options.float_outputs,
        )
        return _read(
            form,
            net,
            wanted,
            recipe,
            parity_images=options.parity_images,
            threads=options.threads,
            license=options.license,
        )

    @property
    def calibrated(self) -> bool:
        """Whether the artefact learns integer ranges from `recipe.samples`."""
        return self.form.precisions[self.recipe.precision].calibrated

    @property
    def suffix(self) -> str:
        """The end of a file name: `[-<precision>].<form>`."""
        precision = self.recipe.precision
        return f"{'' if precision == 'float32' else f'-{precision}'}.{self.form.name}"


def _read(form, net, wanted, recipe, **rest) -> Job:
    """Reads the net, then the images; `rest` holds the job's other attributes."""
    source = net.origin.read().projected(net.basis_size).reading(net.restriction)
    source = source.manifested(net.scheme, net.steps)
    source = source.manifested(others=net.beside(source.net))
    check_channels(source.data["image_shape"][-1], recipe.kind)
    compared = chosen(source.data, wanted)
    source = source.recalibrated(compared.data, wanted.recalibrate)
    if net.fold:
        source = source.folded()
    images, labels = samples, _ = compared.first(wanted.compared)
    if wanted.asked:
        samples = calibration_images(compared.data, wanted.learned)
    recipe = dataclasses.replace(recipe, samples=samples)
    unmeasured = compared.unmeasured
    return Job(form, source, recipe, images, labels, unmeasured=unmeasured, **rest)


def check_channels(channels: int, kind: str) -> None:
    """Raises OptionError if an encoded input cannot have that many channels."""
    if INPUTS[kind].encoded and channels not in ENCODED_CHANNELS:
        raise OptionError(
            f"--input: expected one of {', '.join(ARRAYS)}, as JPEG and PNG files have "
            f"{', '.join(map(str, ENCODED_CHANNELS))} channels. Received {kind!r} for "
            f"images with {channels}: choose another."
        )
