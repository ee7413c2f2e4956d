"""What a run does, decided before anything is built and never changed later."""

import dataclasses
import functools
import json

from cnet_tf.any_depth import members_of
from trainers.data import ImageData
from trainers.data.description import check_new
from trainers.errors import OptionError
from trainers.identity import Identity
from trainers.options import Options
from trainers.place import Place

# On which the norms of any-depth nets are estimated, unless the user decides.
_RECALIBRATION_BATCHES = 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does: its options, where it trains, and on what.

    Attributes:
        options: As given; the batch size of an update is `place.batch_size`.
        place: Where it trains.
        data: What it trains on.

    Raises:
        OptionError: at construction, if the examples do not fill a batch.
        DataError: a net could not be read back with such data, see `check_new`.
    """

    options: Options
    place: Place
    data: ImageData

    def __post_init__(self):
        check_new(json.loads(json.dumps(self.description)))
        if self.place.batch_size > self.data.sizes["train"]:
            raise OptionError(
                f"--batch_size: expected at most {self.data.sizes['train']}, the "
                f"examples to train on. Received {self.place.batch_size}."
            )

    @property
    def per_epoch(self) -> int:
        """Counts the updates of an epoch."""
        whole = self.data.sizes["train"] // self.place.batch_size
        return min(whole, self.options.batches_per_epoch or whole)

    def recalibration_batches(self, net) -> int:
        """Returns how many batches to re-estimate batch norms on after training.

        The default is 0, except for nets with members (from --any_depth, --model or
        --weights), which are meant to run in every form; it is 0 for these too with
        --train_only=head, as features that stay keep their norms.
        """
        if self.options.recalibrate is not None:
            return self.options.recalibrate
        features_stay = self.options.train_only == "head"
        return 0 if features_stay or not members_of(net) else _RECALIBRATION_BATCHES

    @property
    def description(self) -> dict:
        """Describes the data for a deployed net: names and normalisation."""
        return {
            **self.data.description,
            "augment": self.options.augment,
            "cutout": self.options.cutout,
        }

    @functools.cached_property
    def identity(self) -> Identity:
        """What determines the numbers of the run."""
        return Identity.of(self.options, self.place, self.description)

    @functools.cached_property
    def metadata(self) -> dict:
        """What is saved with every net."""
        identity = {"digest": self.identity.digest, "code": self.identity.code}
        return {
            "data": self.description,
            "identity": identity,
            "train_only": self.options.train_only,
        }
