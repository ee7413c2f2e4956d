"""What determines the numbers of a run: options, data, code; and a digest of them.

Two runs with the same digest on the same machine have the same bits, except for runs
that were extended (environment.json says so). The identity is compared when a run is
resumed, between the workers of a cluster, and by evaluations.
"""

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import pathlib

import keras

from cnet_tf import checkpoint, plain_file
from trainers.data.errors import refuse
from trainers.data.folder import PREFIX
from trainers.data.images import PLACES
from trainers.errors import OptionError
from trainers.option_table import COURSE, NUMBERS
from trainers.options import Options

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_SOURCES = ("cnet_tf", "trainers")
_PACKAGES = ("tensorflow", "keras", "numpy")
_SHOWN = 60  # Characters of a value that a line shows.


@dataclasses.dataclass(frozen=True)
class Identity:
    """What determines the numbers, as JSON stores it.

    Attributes:
        options: Options that decide the numbers, by name.
        data: What the images are, regardless of where they lie.
        code: Versions, and a digest of our own source.
        course: Options that decide what workers of a cluster do together next.
    """

    options: dict
    data: dict
    code: dict
    course: dict

    @classmethod
    def of(cls, options, place, description) -> "Identity":
        """Returns the identity of a run.

        Args:
            options: Its `Options`.
            place: Where it trains, with its `batch_size` and `replicas`.
            description: Description of its data, see `ImageData`.
        """
        # The same options may give another batch size on other devices.
        found = named(options, NUMBERS) | {"batch_size": place.batch_size}
        if place.replicas > 1 and not options.sync_batch_norm:
            found["replicas"] = place.replicas  # Each normalises over its own part.
        data = {k: v for k, v in description.items() if k not in PLACES}
        parts = _plain((found, data, code(), named(options, COURSE)))
        return cls(*parts)

    def check_resumed(self, metadata: dict, tell) -> None:
        """Compares with what was saved with a net of the run being resumed.

        Args:
            metadata: See `Plan`; older runs saved nothing about the code.
            tell: Called with a line if the code has changed.

        Raises:
            DataError: the data are not those that the run began with.
        """
        then = metadata["data"]
        for name in self.data:
            # Skips what older runs did not save, and where the data lie.
            if name in then and name not in PLACES and self.data[name] != then[name]:
                was, now = _unequal(then[name], self.data[name])
                refuse(
                    "dataset",
                    f"the data that the run began with, {name} {shown(was)}",
                    shown(now),
                    "restore them, or start a new run with --noresume",
                )
        if line := other_code(metadata):
            tell(f"{line}: the rest of the run may differ from what it would have been")

    @property
    def digest(self) -> str:
        """The sha256 of options, data and code."""
        parts = {"options": self.options, "data": self.data, "code": self.code}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def named(options, *decide: str) -> dict:
    """Returns the options of a table that decide this, by name, as JSON stores them.

    A model is identified by its content, a folder by its absolute path.
    """
    found = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.metadata["decides"] in decide
    }
    if found.get("model"):
        found["model"] = _sha256(found["model"])
    if str(found.get("dataset", "")).startswith(PREFIX):
        path = os.path.expanduser(found["dataset"].removeprefix(PREFIX))
        found["dataset"] = PREFIX + os.path.abspath(path)
    return _plain(found)


def completed(stored: dict) -> dict:
    """Returns the options that decide numbers, with defaults for those not stored.

    Options of another version are ignored: `other_code` reports that the code changed.
    """
    defaults = named(Options(), NUMBERS)
    return {name: stored.get(name, defaults[name]) for name in defaults}


@functools.cache
def code() -> dict:
    """Returns package versions, and a digest of the source of our own packages."""
    source = hashlib.sha256()
    for path in sorted(p for name in _SOURCES for p in (_ROOT / name).rglob("*.py")):
        # Checkouts differ in their line endings.
        text = b"\n".join(path.read_bytes().splitlines())
        source.update(f"{path.relative_to(_ROOT).as_posix()}\0{len(text)}\0".encode())
        source.update(text)
    backend = keras.backend.backend()
    packages = dict.fromkeys([*_PACKAGES, backend])
    versions = {name: _version(name) for name in packages}
    return {"source": source.hexdigest()[:16], **versions}


def other_code(metadata: dict) -> str:
    """Says how the code differs from that which trained a net; empty if it does not."""
    was = metadata.get("identity")
    was = was.get("code") if isinstance(was, dict) else None
    if not isinstance(was, dict):
        return ""
    names = [name for name in was if was[name] != code().get(name)]
    if not names:
        return ""
    changes = (f"{name} (was {was[name]}, is {code().get(name)})" for name in names)
    return f"the code has changed since the run began, {', '.join(changes)}"


def differing(was: dict, now: dict) -> list[str]:
    """Names the entries that differ between two parts; a missing one is None."""
    return [k for k in {**now, **was} if was.get(k) != now.get(k)]


def differences(was: dict, now: dict) -> list[str]:
    """Says what differs between options, as in "--seed differs (was 0, is 1)".

    Args:
        was: Options as stored, see `completed`.
        now: The options now.
    """
    was = completed(was)
    return [
        f"--{name} differs (was {shown(was.get(name))}, is {shown(now.get(name))})"
        for name in differing(was, now)
    ]


def check_workers(identities: list[Identity]) -> None:
    """Refuses workers that would not compute the same.

    Args:
        identities: In the order of the workers' numbers.

    Raises:
        OptionError: names what differs; the same message on every worker.
    """
    first, *others = identities
    for number, other in enumerate(others, 1):
        for part, prefix in (
            ("options", "--"),
            ("course", "--"),
            ("data", "--dataset, "),
            ("code", "the code, "),
        ):
            was, now = getattr(first, part), getattr(other, part)
            for name in differing(was, now):
                raise OptionError(
                    f"{prefix}{name}: expected the same on every worker of the "
                    f"cluster. Received {shown(was.get(name))} on worker 0 and "
                    f"{shown(now.get(name))} on worker {number}: give all of them the "
                    "same command, data and version."
                )


def shown(value) -> str:
    """Formats a value for a line; None and an empty list read "none"."""
    if value is None or value == []:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}.."


def _unequal(was, now):
    """Returns the differing entries of two dicts, or both values as they are."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return was, now
    keys = differing(was, now)
    return tuple({k: part.get(k) for k in keys} for part in (was, now))


def _version(name) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # TensorFlow is distributed under several names.
        return str(importlib.import_module(name).__version__)


def _sha256(path) -> str:
    """Hashes the net that a run starts from: another net makes another run."""
    try:
        if os.path.isdir(path):
            path = checkpoint.description_of(path)
        return plain_file.sha256(path, follow=True)
    except plain_file.PlainFileError as error:
        raise OptionError(
            f"--model: expected a .keras file, or the folder of a run. {error}"
        ) from error


def _plain(value):
    return json.loads(json.dumps(value))
