"""What an export starts from: a trained net and the data it was trained on."""

import dataclasses
import pathlib

import numpy as np
from keras import ops

import cnet_tf
from cnet_tf import checkpoint
from cnet_tf.net import Net
from export.folding import fold
from export.runtimes import SIGNATURE
from trainers.data import ImageData, load_as_trained
from trainers.data.batches import recalibration_batches
from trainers.errors import OptionError

# What the trainer must say of its data, all of which an export needs.
_DATA_KEYS = ("name", "image_shape", "class_names", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained net as one or several manifestations.

    Start with `Source.read`; every other method returns another source.

    Attributes:
        nets: Built nets by signature, `serving_default` first; they share variables.
        graphs: What is exported under these names: the nets, or folded forms of them.
        metadata: What the trainer saved with the net, `data` included.
        changes: How the net differs from the trained one, in words.
        sha256: Of the trained weights.
        run: The run directory.
    """

    nets: dict[str, Net]
    graphs: dict
    metadata: dict
    changes: tuple[str, ...]
    sha256: str
    run: pathlib.Path

    @classmethod
    def read(cls, run) -> "Source":
        """The net of a run directory as it was trained, in float32.

        Raises:
            OptionError: no run, a damaged checkpoint, or no word of its data.
        """
        run = pathlib.Path(run)
        try:
            found = checkpoint.load(run / "net")
            _check_data(found, run)
        except (checkpoint.CheckpointError, OSError) as error:
            raise OptionError(f"--run: {error}") from error
        net = found.net
        # LiteRT knows neither bfloat16 nor convolutions in float64.
        if net.dtype_policy.name != "float32":
            net = _copied(net, "float32")
        nets = {SIGNATURE: net}
        return cls(nets, nets, found.metadata, (), found.sha256, run)

    @property
    def data(self) -> dict:
        """Name, image_shape, class_names, mean and std of the training data."""
        return self.metadata["data"]

    @property
    def net(self) -> Net:
        """The net of `serving_default`."""
        return self.nets[SIGNATURE]

    @property
    def name(self) -> str:
        """`<scheme>-<steps>` of `serving_default`."""
        return manifestation_name(self.net)

    def projected(self, size: int | None) -> "Source":
        """The weights in a smaller basis (L2); the steps stay.

        Args:
            size: K' >= 1, or None to leave the weights as they are.

        Raises:
            OptionError: the net has no basis, or one smaller than that.
        """
        if size is None:
            return self
        try:
            cnet_tf.net.require_blocks(self.net)
            sizes = [block.rate.basis.size for block in self.net.blocks]
            if size > min(sizes):
                raise ValueError(f"expected at most K = {min(sizes)}. Received {size}")
            steps = [block.steps for block in self.net.blocks]
            net = cnet_tf.project(self.net, nodes=size, steps=steps)
        except ValueError as error:
            raise OptionError(f"--basis_size: {error}") from error
        change = f"weights projected from K = {max(sizes)} to {size}"
        return self._with({SIGNATURE: net}, change)

    def manifested(self, scheme=None, steps=None, others=()) -> "Source":
        """Other manifestations of the same variables.

        Args:
            scheme: A key of `SCHEMES`. Default: as trained.
            steps: N >= 1. Default: as trained.
            others: Pairs (scheme, steps), exported as `<scheme>_<steps>` beside it.

        Raises:
            OptionError: the depth of the net is fixed.
        """
        net = self.net
        try:
            if scheme is not None or steps is not None:
                net = cnet_tf.manifest(net, scheme, steps)
            nets = {SIGNATURE: net}
            for other, count in others:
                nets[f"{other}_{count}"] = cnet_tf.manifest(net, other, count)
        except ValueError as error:
            message = f"--scheme, --steps, --manifestations: {error}"
            raise OptionError(message) from error
        return self._with(nets)

    def recalibrated(self, data: ImageData, batches: int) -> "Source":
        """A copy of the one net with its norms re-estimated on training images.

        Args:
            data: The data of the run; augmented as in the training.
            batches: Batches of 128; 0 leaves the source as it is.
        """
        if not batches:
            return self
        augment = self.data.get("augment", "none")
        (net,) = map(_copied, self.nets.values())
        images = recalibration_batches(
            data, augment, batches, self.data.get("cutout", 0)
        )
        count = cnet_tf.recalibrate(net, images)
        change = f"batch norms recalibrated on {count} training batches"
        return self._with({SIGNATURE: net}, change)

    def folded(self) -> "Source":
        """The same nets, to be exported with everything folded that can be."""
        graphs = {signature: fold(net) for signature, net in self.nets.items()}
        return dataclasses.replace(self, graphs=graphs)

    def load_data(self, data_dir: str | None = None) -> ImageData:
        """The data that the net was trained on, normalised as in training.

        Raises:
            OptionError: their classes are not those of the run.
            DataError: they cannot be read.
        """
        found = load_as_trained(self.data, data_dir)
        expected = self.data["class_names"]
        if list(found.class_names) != list(expected):
            raise OptionError(
                f"--data_dir: expected {self.data['name']!r} with the classes of the "
                f"run, {_brief(expected)}. Received {_brief(found.class_names)}: "
                "name the folder of the data that the net was trained on."
            )
        return found

    def _with(self, nets, *changes) -> "Source":
        changes = (*self.changes, *changes)
        return dataclasses.replace(self, nets=nets, graphs=nets, changes=changes)


def manifestation_name(net: Net) -> str:
    """`<scheme>-<steps>`, with one number a block where they differ."""
    if not net.blocks:
        return type(net).__name__.lower()
    steps = [block.steps for block in net.blocks]
    steps = steps[:1] if len(set(steps)) == 1 else steps
    return "-".join(map(str, [net.blocks[0].scheme, *steps]))


def first_test_images(data: ImageData, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images and labels, uint8 (B, H, W, C) and int64 (B,)."""
    batch = next(data.test.take(count).batch(count).as_numpy_iterator())
    return batch["image"], batch["label"]


def _copied(net: Net, dtype: str | None = None) -> Net:
    """The net with variables of its own, in another precision if asked for."""
    config = net.get_config()
    twin = type(net)(**(config if dtype is None else {**config, "dtype": dtype}))
    twin.build(net.get_build_config()["input_shape"])
    for new, old in zip(twin.variables, net.variables, strict=True):
        new.assign(ops.cast(old, new.dtype))
    return twin


def _check_data(found: checkpoint.Checkpoint, run) -> None:
    """Refuses a net whose metadata do not say what it was trained on."""
    data = found.metadata.get("data", {})
    missing = [key for key in _DATA_KEYS if key not in data]
    shape = tuple(found.net.get_build_config()["input_shape"][1:])
    if missing or tuple(data["image_shape"]) != shape:
        received = f"none of {', '.join(missing)}" if missing else data["image_shape"]
        raise checkpoint.CheckpointError(
            f"{run}: expected a net that says what images of shape {shape} "
            f"it was trained on. Received {received}: train it with trainers/train.py."
        )


def _brief(names) -> str:
    return f"{len(names)}: {', '.join(list(names)[:3])}, .."
