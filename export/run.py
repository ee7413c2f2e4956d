"""Reads the net to export from a run directory."""

import dataclasses
import pathlib

from cnet_tf.architecture import in_precision
from cnet_tf.manifestation import unrolled
from export.runtimes import SIGNATURE
from export.source import Source
from trainers import trained_net


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory, or the folder of a net without its run.

    Attributes:
        path: The folder.
    """

    path: pathlib.Path

    def read(self) -> Source:
        """Reads the net as trained, in float32.

        Raises:
            OptionError: no run, a damaged checkpoint, or no description of its data.
        """
        found = trained_net.read(self.path, sized=True)
        # LiteRT supports neither bfloat16 nor convolutions in float64, and loops cannot
        # be folded.
        nets = {SIGNATURE: unrolled(in_precision(found.net, "float32"))}
        return Source(nets, nets, found.metadata, (), found.sha256, self.path)
