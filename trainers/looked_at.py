"""What a command inspects: trained nets or a model file, and images to run them on."""

import dataclasses
import pathlib
from collections.abc import Callable

import keras

from cnet_tf import keras_file
from cnet_tf.architecture import in_precision
from cnet_tf.manifestation import manifest, unrolled
from cnet_tf.pretrained import is_shipped
from cnet_tf.tableaus import SCHEMES
from cnet_tf.trajectory import TappedNet
from trainers import given_inputs, trained_net
from trainers.data import (
    PARTS,
    ImageData,
    MissingData,
    images_of,
    load_as_trained,
    normalize,
)
from trainers.data.batches import recalibration_batches_of
from trainers.data.contents import changed
from trainers.data.errors import tell
from trainers.data.generated import GENERATED, generated, unlabelled
from trainers.data_option import (
    LATEST,
    data_dir,
    file_or_run,
    mean_of_pixels,
    of_a_file,
    per_channel,
    std_of_pixels,
)
from trainers.errors import OptionError, naming
from trainers.option_kinds import (
    integer,
    list_of,
    one_of,
    pair,
    run_folder,
    text,
)
from trainers.option_table import OptionTable, excluded, option


@dataclasses.dataclass(frozen=True)
class LookedAt:
    """A net, and how to get images to run it on.

    Attributes:
        name: Name of the run or the file.
        net: Its flows, steps unrolled.
        model: The Keras model that has these flows.
        images: Loads the images. Returns pairs of normalised images and labels (None
            if unknown), and a sentence about them, empty if they are the run's.
        training: Function of a count; returns that many normalised batches of training
            images, augmented as in training. Raises `MissingData` if there are none.
    """

    name: str
    net: TappedNet
    model: keras.Model
    images: Callable[[], tuple[list, str]]
    training: Callable


def _beside_inputs(name):
    what = "--inputs, which are used unchanged"
    return excluded(name, lambda options: options.inputs, what)


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The options for what to inspect: runs or a model, and images."""

    COMBINATIONS = (
        file_or_run(lambda options: repr(",".join(options.run))),
        *map(of_a_file, ("mean", "std", "inputs")),
        *map(_beside_inputs, ("images", "mean", "std")),
    )

    run: tuple[str, ...] = option(
        (),
        list_of(run_folder(), unique=True),
        "Nets to inspect; several count as seeds of one training",
        f"{LATEST}, or none with --model",
    )
    model: str | None = option(
        None,
        text(),
        "A .keras file to inspect instead: a net with continuous blocks, or a plain "
        "residual net",
        "none",
    )
    manifestation: tuple[str, int] | None = option(
        None,
        pair(one_of(SCHEMES), integer(1), "scheme:steps, like euler:2"),
        "The manifestation to inspect, with the batch norms it has",
        "as trained",
    )
    output: str | None = option(
        None,
        text(),
        "Folder for the results",
        "a folder in the run; for a shipped net, a file or several runs, one in the "
        "current folder",
    )
    images: str | None = option(
        None,
        text(),
        "Folder of images to use instead of the data set; their labels are unknown",
        "the data set of the run, or generated images if there is none",
    )
    inputs: str | None = option(
        None,
        text(),
        "A .npy of inputs, or a .npz of inputs x and labels y, for a --model that "
        "takes no images",
        "none",
    )
    split: str = option("test", one_of(PARTS), "Split of the data set")
    examples: int = option(500, integer(1), "Number of images; all, if there are fewer")
    batch_size: int = option(250, integer(1), "Images per batch")
    mean: tuple[float, ...] = mean_of_pixels()
    std: tuple[float, ...] = std_of_pixels()
    precision: str = option(
        "float32",
        one_of(("float32", "float64")),
        "Precision of the states; float64 shows smaller errors and takes longer",
    )
    data_dir: str | None = data_dir()

    @property
    def sources(self) -> list[pathlib.Path]:
        """The model file, or the runs."""
        return list(map(pathlib.Path, [self.model] if self.model else self.runs))

    @property
    def runs(self) -> tuple[str, ...]:
        return self.run or (LATEST,)

    def folder(self, name) -> pathlib.Path:
        """Returns the folder for the results of the command with this name."""
        first = self.sources[0]
        if self.output:
            return pathlib.Path(self.output)
        if self.model or is_shipped(first) or len(self.sources) > 1:
            return pathlib.Path(name, first.resolve().name)
        return first / name


def read(options: Options) -> list[LookedAt]:
    """Reads the nets to inspect now; their images are loaded on request.

    Raises:
        OptionError: no run, a damaged net, a file that is not an image model, nothing
            to inspect; for manifestations see `manifest`.
    """
    if options.model:
        return [_looked_at(options, "model", *_of_file(options))]
    found = [_looked_at(options, "run", *_of_run(run)) for run in options.runs]
    return trained_net.distinct(found, options.runs)


def _of_run(run):
    """Returns (name, net, description of its data)."""
    trained = trained_net.read(run, sized=True)
    return trained.name, trained.net, trained.data


def _of_file(options):
    with naming("--model"):
        net = keras_file.read(options.model)
    shapes = [tuple(x.shape) for x in net.inputs]
    kinds = {str(x.dtype) for x in net.inputs}
    name = pathlib.Path(options.model).stem
    if options.inputs and len(shapes) == 1:
        return name, net, {"name": options.inputs, "input_shape": shapes[0][1:]}
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise OptionError(
            "--model: expected a model of images of one size, (batch, height, width, "
            f"channels). Received one with inputs {shapes}: give --inputs=my.npy, or "
            "for several inputs call cnet_tf.observed_order.observe in Python."
        )
    if not all("float" in kind for kind in kinds):
        raise OptionError(
            f"--model: expected an input of floats. Received {', '.join(kinds)}: build "
            "it on a keras.Input of float32."
        )
    shape = shapes[0][1:]
    said = {
        "name": GENERATED,
        "image_shape": list(shape),
        "class_names": [str(i) for i in range(net.outputs[0].shape[-1])],
        "mean": per_channel("mean", options.mean or (0.0,), shape[-1]),
        "std": per_channel("std", options.std or (1.0,), shape[-1]),
    }
    return name, net, said


def _looked_at(options, source, name, net, said) -> LookedAt:
    net = unrolled(in_precision(net, options.precision))
    if options.manifestation:
        with naming("--manifestation"):
            net = manifest(net, *options.manifestation)

    with naming(f"--{source}"):
        tapped = TappedNet(net)

    def images():
        if options.inputs:
            shape = said["input_shape"]
            found = given_inputs.batches(options.inputs, shape, options)
            return found, f"On inputs of {options.inputs}."
        data, remark = _images(options, said)
        return _batches(options, data), remark

    def training(count):
        data = load_as_trained(said, options.data_dir, ("train",))
        return recalibration_batches_of(data, said, count)

    return LookedAt(name, tapped, net, images, training)


def _images(options, said) -> tuple[ImageData, str]:
    """Returns the images and a remark about them."""
    if options.images:
        found = images_of(options.images, said["image_shape"], options.examples)
        return unlabelled(found, {**said, "name": options.images}), (
            "On given images, without labels."
        )
    if said["name"] == GENERATED:
        return generated(said), "On generated images, as a file does not name its data."
    try:
        data = load_as_trained(said, options.data_dir, (options.split,))
        return data, changed(data.changes)
    except MissingData as error:
        if options.data_dir:
            raise
        tell(f"generated images replace those of the net. {error}")
        return generated(said), "On generated images, as those of the net are missing."


def _batches(options, data: ImageData) -> list:
    split = options.split
    if not data.sizes[split]:
        raise OptionError(
            f"--split: expected one of {[k for k, n in data.sizes.items() if n]}. "
            f"Received {split!r}, which has no images."
        )
    images = getattr(data, split).take(options.examples).batch(options.batch_size)
    return [
        (
            normalize(batch["image"], data.mean, data.std)
            .numpy()
            .astype(options.precision),
            batch["label"] if "label" in batch else None,
        )
        for batch in images.as_numpy_iterator()
    ]
