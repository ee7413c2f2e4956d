"""Waits for the workers of a cluster to start, before TensorFlow does so without end.

TensorFlow waits for a worker in C++, where neither a signal nor a time limit reaches
it, and says nothing. So workers meet here first: each listens on its own port until it
has reached all others, whether they listen here or in TensorFlow already.
"""

import contextlib
import os
import socket
import sys
import threading
import time
import urllib.parse

from trainers.errors import OptionError

_PAUSE_SECONDS = 0.2
_CONNECT_SECONDS = 2.0
# For TensorFlow, once all of them are there.
_SETUP_SECONDS = 120.0


class WorkerLost(RuntimeError):
    """Another process of the cluster has ended or never came; the message is a line."""


def address(text: str) -> tuple[str, int]:
    """(host, port) of "host:port".

    Raises:
        ValueError: it is no such address.
    """
    parts = urllib.parse.urlsplit(f"//{text}")
    if not parts.hostname or not parts.port or parts.netloc != text or "@" in text:
        raise ValueError(f"{text!r} is no host:port")
    return parts.hostname, parts.port


def _tell(line):
    print(line, flush=True)  # It may be for a file, and long until the next one.


def meet(workers: dict[str, str], own: str, minutes: float, tell=_tell) -> None:
    """Waits until every worker has started.

    Args:
        workers: host:port by name, as in "worker 1".
        own: The name of this one.
        minutes: How long to wait.
        tell: Called with a line where it waits.

    Raises:
        OptionError: the port of this worker is in use.
        WorkerLost: one of them did not start in time.
    """
    end = time.monotonic() + 60 * minutes
    missing = {name: place for name, place in workers.items() if name != own}
    with _listening(own, workers[own], len(workers)):
        told = False
        while True:
            for name in [name for name in missing if _reached(missing[name])]:
                del missing[name]
            if not missing:
                return
            if time.monotonic() >= end:
                raise WorkerLost(
                    f"{_listed(missing)} did not start within {minutes:g} minutes "
                    "(--start_minutes). Give the same command there, with its own "
                    "index in TF_CONFIG, or check that its port can be reached."
                )
            if not told:
                tell(
                    f"Waiting for {_listed(missing)} to start, for at most "
                    f"{minutes:g} minutes (--start_minutes)."
                )
                told = True
            time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def limited(seconds: float = _SETUP_SECONDS):
    """Ends the process with a line where TensorFlow does not come back.

    It is in C++ then, so that no exception reaches it.
    """

    def give_up():
        print(
            f"error: the workers of the cluster did not agree within {seconds:g} "
            "seconds: one of them has ended, or another program answers at its "
            "address in TF_CONFIG. Give the same command again on all of them.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    clock = threading.Timer(seconds, give_up)
    clock.daemon = True
    clock.start()
    try:
        yield
    finally:
        clock.cancel()


def in_use(name: str, place: str) -> OptionError:
    """The refusal of a port that another process has."""
    return OptionError(
        f"TF_CONFIG: expected a free port for {name}, which is this process. Received "
        f"{place}, which another process uses: end it, or choose another port on every "
        "worker."
    )


@contextlib.contextmanager
def _listening(name, place, count):
    _, port = address(place)
    try:
        # On every interface, as TensorFlow does.
        both = socket.has_dualstack_ipv6()
        server = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            backlog=2 * count + 8,
            dualstack_ipv6=both,
        )
    except OSError as error:
        raise in_use(name, place) from error
    with server:
        yield


def _reached(place) -> bool:
    try:
        socket.create_connection(address(place), timeout=_CONNECT_SECONDS).close()
        return True
    except OSError:  # Among them: no such host yet, as where containers start.
        return False


def _listed(missing) -> str:
    return ", ".join(f"{name} ({place})" for name, place in missing.items())
