"""The trained net that an export starts from, and the data it was trained on."""

import dataclasses
import os
import pathlib

import numpy as np
from keras import ops

import cnet_tf
from cnet_tf import checkpoint
from cnet_tf.net import Net
from export.folding import fold
from export.parity import Candidate
from export.serving import SIGNATURE, keras_logits
from trainers.data import ImageData, load_as_trained
from trainers.data.batches import recalibration_batches
from trainers.errors import OptionError

# What the trainer has to say of its data, all of which an export needs.
_DATA_KEYS = ("name", "image_shape", "class_names", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained net as one or several manifestations, ready to be exported.

    Attributes:
        nets: Built nets by signature, `serving_default` first; they share variables.
        graphs: What is exported under these names: the nets, or folded forms of them.
        metadata: What the trainer saved with the net; `data` is a part of it.
        changes: What was done to the net as it was trained, in words.
        sha256: Of the trained weights.
        run: The run directory.
        output: Where its exports go. May not exist yet.
    """

    nets: dict[str, Net]
    graphs: dict
    metadata: dict
    changes: tuple[str, ...]
    sha256: str
    run: pathlib.Path
    output: pathlib.Path

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

    def folded(self) -> "Trained":
        """The same, to be exported with everything folded that can be."""
        graphs = {signature: fold(net) for signature, net in self.nets.items()}
        return dataclasses.replace(self, graphs=graphs)

    def candidates(self, calls: dict, cost=None) -> list[Candidate]:
        """What to compare with Keras.

        Args:
            calls: The signatures of an export that was read back.
            cost: Function of a signature to its `Cost`, or None.
        """
        return [
            Candidate(
                manifestation_name(net),
                keras_logits(net, self.data),
                calls[signature],
                cost(signature).median if cost else None,
            )
            for signature, net in self.nets.items()
        ]


def manifestation_name(net: Net) -> str:
    """`<scheme>-<steps>`, with one number a block where they differ."""
    if not net.blocks:
        return type(net).__name__.lower()
    steps = [block.steps for block in net.blocks]
    steps = steps[:1] if len(set(steps)) == 1 else steps
    return "-".join(map(str, [net.blocks[0].scheme, *steps]))


def load(
    values, fold_by_default: bool = True, data: ImageData | None = None
) -> tuple[Trained, ImageData]:
    """The net of `--run` as the flags ask for it, and its data.

    Args:
        values: Parsed flags, or anything with attributes of their names.
        fold_by_default: Whether a single manifestation is folded unless the flags say.
        data: The data of the run, where they are loaded already.

    Raises:
        OptionError: no run, a damaged checkpoint, a net without what was asked for,
            other data than the run's, or an output folder that cannot be written.
            Nothing was written.
        DataError: the data cannot be had.
    """
    run = pathlib.Path(values.run)
    wanted = getattr(values, "manifestations", None) or ()
    fold_graphs = fold_by_default and not wanted if values.fold is None else values.fold
    if fold_graphs and wanted:
        raise OptionError(
            "--fold: expected one manifestation. Received --manifestations too, and "
            "folded weights cannot be shared: leave one of the two out."
        )
    if values.recalibrate and wanted:
        raise OptionError(
            "--recalibrate: expected one manifestation. Received --manifestations too, "
            "which share their statistics: leave one of the two out."
        )
    output = output_folder(values)
    _check_writable(output)
    try:
        found = checkpoint.load(run / "net")
        _check_data(found, run)
    except (checkpoint.CheckpointError, OSError) as error:
        raise OptionError(f"--run: {error}") from error
    net, changes = _projected(found.net, values.basis_size)
    nets = _manifestations(_in_float32(net), values.scheme, values.steps, wanted)
    data = data or _load_data(found.metadata["data"], values.data_dir)
    if values.recalibrate:
        batches = _recalibrate(nets[SIGNATURE], data, found, values.recalibrate)
        changes += (f"batch norms recalibrated on {batches} training batches",)
    source = Trained(nets, nets, found.metadata, changes, found.sha256, run, output)
    return source.folded() if fold_graphs else source, data


def output_folder(values) -> pathlib.Path:
    """Where the exports of the run go."""
    name = pathlib.Path(values.run).resolve().name
    return pathlib.Path(values.output or pathlib.Path("exports", name))


def first_test_images(data: ImageData, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images and labels, uint8 (B, H, W, C) and int64 (B,)."""
    batch = next(data.test.take(count).batch(count).as_numpy_iterator())
    return batch["image"], batch["label"]


def _projected(net, size):
    """The net in a basis of that size, and what was done in words."""
    if size is None:
        return net, ()
    try:
        cnet_tf.net.require_blocks(net)
        sizes = [block.rate.basis.size for block in net.blocks]
        if size > min(sizes):
            raise ValueError(f"expected at most K = {min(sizes)}. Received {size}")
        steps = [block.steps for block in net.blocks]
        net = cnet_tf.project(net, nodes=size, steps=steps)
    except ValueError as error:
        raise OptionError(f"--basis_size: {error}") from error
    return net, (f"weights projected from K = {max(sizes)} to {size}",)


def _manifestations(net, scheme, steps, others):
    """Nets by signature."""
    try:
        if scheme is not None or steps is not None:
            net = cnet_tf.manifest(net, scheme, steps)
        nets = {SIGNATURE: net}
        for scheme, steps in others:
            nets[f"{scheme}_{steps}"] = cnet_tf.manifest(net, scheme, steps)
    except ValueError as error:
        raise OptionError(f"--scheme, --steps, --manifestations: {error}") from error
    return nets


def _load_data(known, data_dir):
    found = load_as_trained(known, data_dir)
    if list(found.class_names) != list(known["class_names"]):
        raise OptionError(
            f"--data_dir: expected {known['name']!r} with the classes of the run, "
            f"{_brief(known['class_names'])}. Received {_brief(found.class_names)}: "
            "name the folder of the data that the net was trained on."
        )
    return found


def _recalibrate(net, data, found, batches):
    augment = found.metadata["data"].get("augment", "none")
    return cnet_tf.recalibrate(net, recalibration_batches(data, augment, batches))


def _in_float32(net: Net) -> Net:
    """The net in float32, whatever precision it was trained in.

    LiteRT knows neither bfloat16 nor convolutions in float64.
    """
    if net.dtype_policy.name == "float32":
        return net
    single = type(net)(**{**net.get_config(), "dtype": "float32"})
    single.build(net.get_build_config()["input_shape"])
    for new, old in zip(single.variables, net.variables, strict=True):
        new.assign(ops.cast(old, "float32"))
    return single


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


def _check_writable(folder: pathlib.Path) -> None:
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OptionError(
            f"--output: expected a folder that can be written. Received {str(folder)!r}"
            f", where {str(nearest)!r} is not one: choose another."
        )


def _brief(names) -> str:
    return f"{len(names)}: {', '.join(list(names)[:3])}, .."
