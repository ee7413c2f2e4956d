"""A net to export from a run directory."""

import dataclasses
import pathlib

from cnet_tf import checkpoint
from cnet_tf.architecture import copied, in_precision
from cnet_tf.manifestation import unrolled
from export.runtimes import SIGNATURE
from export.source import Source
from trainers.data.description import checked
from trainers.errors import OptionError


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory, or the folder of a net without its run.

    Attributes:
        path: The folder.
    """

    path: pathlib.Path

    def read(self) -> Source:
        """The net as it was trained, in float32.

        Raises:
            OptionError: no run, a damaged checkpoint, or no word of its data.
        """
        try:
            found = checkpoint.load(checkpoint.folder_of(self.path))
            net = found.net
            shape = checked(found.metadata, self.path, net)["image_shape"]
            if None in net.input_shape[1:]:  # Trained on images of several sizes.
                net = copied(net, input_shape=shape)
        except (ValueError, OSError) as error:  # Those of nets and data too.
            raise OptionError(f"--run: {error}") from error
        # LiteRT knows neither bfloat16 nor convolutions in float64, and loops cannot be
        # folded.
        nets = {SIGNATURE: unrolled(in_precision(net, "float32"))}
        return Source(nets, nets, found.metadata, (), found.sha256, self.path)
