"""What determines the numbers of a run: options, data, code; and one digest of them.

Two runs of the same digest on the same machine have the same bits, but for those that
were extended (environment.json says so). It is compared where a run is resumed, between
the workers of a cluster, and by evaluations.
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
        options: By name, those that decide them.
        data: What the images are, wherever they are.
        code: Versions, and a digest of our own source.
        course: Options that decide what workers of a cluster do together next.
    """

    options: dict
    data: dict
    code: dict
    course: dict

    @classmethod
    def of(cls, options, place, description) -> "Identity":
        """That of a run.

        Args:
            options: Its `Options`.
            place: Where it trains, with its `batch_size` and `replicas`.
            description: Of its data, see `ImageData`.
        """
        # What was asked for may be another batch on other devices.
        found = named(options, NUMBERS) | {"batch_size": place.batch_size}
        if place.replicas > 1 and not options.sync_batch_norm:
            found["replicas"] = place.replicas  # Each normalises by its own part.
        data = {k: v for k, v in description.items() if k not in PLACES}
        parts = _plain((found, data, code(), named(options, COURSE)))
        return cls(*parts)

    def check_resumed(self, metadata: dict, tell) -> None:
        """Compares with what was saved with a net of the run that goes on.

        Args:
            metadata: See `Plan`; of older runs without a word of code.
            tell: Called with a line where the code is another.

        Raises:
            DataError: the data are not those that the run began with.
        """
        then = metadata["data"]
        for name in self.data:
            # Not known to runs of before, or only where the data lie.
            if name in then and name not in PLACES and self.data[name] != then[name]:
                was, now = _unequal(then[name], self.data[name])
                refuse(
                    "dataset",
                    f"the data that the run began with, {name} {shown(was)}",
                    shown(now),
                    "restore them, or begin a new run with --noresume",
                )
        if line := other_code(metadata):
            tell(f"{line}: what follows may differ from what it would have been")

    @property
    def digest(self) -> str:
        """The sha256 of options, data and code."""
        parts = {"options": self.options, "data": self.data, "code": self.code}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def named(options, *decide: str) -> dict:
    """The options of a table that decide this, by name, as JSON stores them.

    A model is known by its content, a folder by its absolute path.
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
    """The options that decide numbers; one that is not stored has its default.

    Those of another version are passed over: that the code is another is told.
    """
    defaults = named(Options(), NUMBERS)
    return {name: stored.get(name, defaults[name]) for name in defaults}


@functools.cache
def code() -> dict:
    """Versions by package, and a digest of the source of `cnet_tf` and `trainers`."""
    source = hashlib.sha256()
    for path in sorted(p for name in _SOURCES for p in (_ROOT / name).rglob("*.py")):
        # Checkouts differ in the ends of their lines.
        text = b"\n".join(path.read_bytes().splitlines())
        source.update(f"{path.relative_to(_ROOT).as_posix()}\0{len(text)}\0".encode())
        source.update(text)
    backend = keras.backend.backend()
    packages = dict.fromkeys([*_PACKAGES, backend])
    versions = {name: _version(name) for name in packages}
    return {"source": source.hexdigest()[:16], **versions}


def other_code(metadata: dict) -> str:
    """In what the code is not that which trained a net, in words; empty if nowhere."""
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
    """Names of what differs between two parts; a missing one is None."""
    return [k for k in {**now, **was} if was.get(k) != now.get(k)]


def differences(was: dict, now: dict) -> list[str]:
    """What differs between options, in words, as in "--seed differs (was 0, is 1)".

    Args:
        was: As stored, see `completed`.
        now: As of now.
    """
    was = completed(was)
    return [
        f"--{name} differs (was {shown(was.get(name))}, is {shown(now.get(name))})"
        for name in differing(was, now)
    ]


def check_workers(identities: list[Identity]) -> None:
    """Refuses workers that would not compute the same.

    Args:
        identities: By the number of the worker.

    Raises:
        OptionError: names what differs, the same on every worker.
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
    """A value in a line; None is no value."""
    if value is None or value == []:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}.."


def _unequal(was, now):
    """Of two dicts what differs, of other values both."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return was, now
    keys = differing(was, now)
    return tuple({k: part.get(k) for k in keys} for part in (was, now))


def _version(name) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # TensorFlow has several names.
        return str(importlib.import_module(name).__version__)


def _sha256(path) -> str:
    """Of the net that a run starts from: another net is another run."""
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
