"""The starting point of an export: a trained net and a description of its data."""

import dataclasses
import pathlib

import keras

import cnet_tf
from cnet_tf.any_depth import with_own_norms
from cnet_tf.escaping import file_name
from cnet_tf.surgery import blocks_of, chosen_blocks
from export.folding import fold
from export.runtimes import SIGNATURE
from trainers.data import ImageData
from trainers.data.batches import recalibration_batches_of
from trainers.data.generated import GENERATED
from trainers.errors import naming


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained net as one or several manifestations.

    `Run` and `File` read one; every method returns another.

    Attributes:
        nets: Built nets by signature, `serving_default` first; they share variables.
        graphs: What is exported under these names: the nets, or their folded forms.
        metadata: What the trainer saved with the net; its `data` entry is checked.
        changes: How the net differs from the trained one, in words.
        sha256: Hash of the trained weights.
        path: The run directory, or the file that was read.
    """

    nets: dict[str, keras.Model]
    graphs: dict
    metadata: dict
    changes: tuple[str, ...]
    sha256: str
    path: pathlib.Path

    @property
    def knows_no_data(self) -> bool:
        """Whether the training data are unknown, as for a `.keras` file."""
        return self.data["name"] == GENERATED

    @property
    def data(self) -> dict:
        """Name, image_shape, class_names, mean and std of the training data."""
        return self.metadata["data"]

    @property
    def net(self) -> keras.Model:
        """The net of `serving_default`."""
        return self.nets[SIGNATURE]

    @property
    def name(self) -> str:
        """`<scheme>-<steps>` of `serving_default`."""
        return manifestation_name(self.net)

    def projected(self, size: int | None) -> "Source":
        """Projects the weights onto a smaller basis (L2); keeps the steps.

        Args:
            size: K' >= 1, or None to leave the weights unchanged.

        Raises:
            OptionError: the net has no basis, or a smaller one.
        """
        if size is None:
            return self
        with naming("--basis_size"):
            blocks = chosen_blocks(self.net)
            sizes = [block.nodes for block in blocks]
            if size > min(sizes):
                raise ValueError(f"expected at most K = {min(sizes)}. Received {size}")
            steps = [block.steps for block in blocks]
            net = cnet_tf.project(self.net, nodes=size, steps=steps)
        change = f"weights projected from K = {max(sizes)} to {size}"
        return self._with({SIGNATURE: net}, change)

    def reading(self, restriction: str | None) -> "Source":
        """Changes how steps read the weights if there are fewer than basis cells.

        Args:
            restriction: One of `RESTRICTIONS`, or None to read as trained.

        Raises:
            OptionError: the depth of the net is fixed.
        """
        if restriction is None:
            return self
        with naming("--restriction"):
            net = cnet_tf.manifest(self.net, restriction=restriction)
        change = f"fewer steps than cells read theta by {restriction}"
        return self._with({SIGNATURE: net}, change)

    def manifested(self, scheme=None, steps=None, others=()) -> "Source":
        """Returns other manifestations of the same variables.

        Args:
            scheme: A key of `SCHEMES`. Default: as trained.
            steps: N >= 1, or one per block. Default: as trained.
            others: Pairs (scheme, steps), exported beside it as `<scheme>_<steps>`.

        Raises:
            OptionError: the depth of the net is fixed.
        """
        net = self.net
        with naming("--scheme, --steps, --manifestations"):
            if scheme is not None or steps is not None:
                net = cnet_tf.manifest(net, scheme, steps)
            nets = {SIGNATURE: net}
            for other, count in others:
                nets[f"{other}_{count}"] = cnet_tf.manifest(net, other, count)
        return self._with(nets)

    def recalibrated(self, data: ImageData, batches: int) -> "Source":
        """Returns a twin of the only net with norms re-estimated on training images.

        Args:
            data: The data of the run; augmented as in training.
            batches: Batches of 128; 0 leaves the source unchanged.
        """
        if not batches:
            return self
        (net,) = map(with_own_norms, self.nets.values())
        images = recalibration_batches_of(data, self.data, batches)
        count = cnet_tf.recalibrate(net, images)
        change = f"batch norms recalibrated on {count} training batches"
        return self._with({SIGNATURE: net}, change)

    def folded(self) -> "Source":
        """Returns the same nets with graphs in which everything possible is folded."""
        graphs = {signature: fold(net) for signature, net in self.nets.items()}
        return dataclasses.replace(self, graphs=graphs)

    def _with(self, nets, *changes) -> "Source":
        changes = (*self.changes, *changes)
        return dataclasses.replace(self, nets=nets, graphs=nets, changes=changes)


def manifestation_name(net: keras.Model) -> str:
    """Returns `<scheme>-<steps>`, one per block if they differ.

    A net without blocks gives its own name.
    """
    names = [f"{block.scheme}-{block.steps}" for block in blocks_of(net)]
    name = "_".join(names[:1] if len(set(names)) == 1 else names) or net.name
    return file_name(name)  # It names files, and nets may be untrusted.
