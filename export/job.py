"""One export to make, read from its options once; nothing after it knows options.

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


@dataclasses.dataclass(frozen=True)
class Net:
    """The net to export: what it is read from, and how it differs from that.

    Attributes:
        origin: What it is read from.
        basis_size, restriction, scheme: Of every block; None is as trained.
        steps: N of all blocks, or one a block; None is as trained.
        beside: Function of it to the pairs (scheme, steps) that are exported beside it.
        fold: Whether what can be is folded.
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
        images, labels: uint8 (B, H, W, C) and int64 (B,): the images on which the
            export is compared with Keras. Labels are None of images that have none.
        parity_images: See `parity.compare`.
        threads: Of the runtime where it is timed; None are all.
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
        net = Net(
            options.origin,
            options.basis_size,
            options.restriction,
            options.scheme,
            options.steps[0] if len(options.steps) == 1 else options.steps or None,
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
        """What the name of a file ends with: `[-<precision>].<form>`."""
        precision = self.recipe.precision
        return f"{'' if precision == 'float32' else f'-{precision}'}.{self.form.name}"


def _read(form, net, wanted, recipe, **rest) -> Job:
    """Reads the net, then the images; `rest` are further attributes of the job."""
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
    """Raises OptionError unless files of an encoded input have that many channels."""
    if INPUTS[kind].encoded and channels not in ENCODED_CHANNELS:
        raise OptionError(
            f"--input: expected one of {', '.join(ARRAYS)}, as JPEG and PNG files have "
            f"{', '.join(map(str, ENCODED_CHANNELS))} channels. Received {kind!r} for "
            f"images of {channels}: choose another."
        )
