"""Waits for the workers of a cluster to start, as TensorFlow would wait for ever.

TensorFlow waits for a worker in C++, where neither a signal nor a time limit reaches
it, and prints nothing. So workers meet here first: each listens on its own port until
it has reached all others, whether they still listen here or already in TensorFlow.
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
# How long TensorFlow may take once all workers are there.
_SETUP_SECONDS = 120.0


class WorkerLost(RuntimeError):
    """Another process of the cluster ended or never started; the message is a line."""


def address(text: str) -> tuple[str, int]:
    """Splits "host:port" into (host, port).

    Raises:
        ValueError: the text is not of that form.
    """
    parts = urllib.parse.urlsplit(f"//{text}")
    if not parts.hostname or not parts.port or parts.netloc != text or "@" in text:
        raise ValueError(f"{text!r} is not host:port")
    return parts.hostname, parts.port


def _tell(line):
    # Stdout may be a file, and the next line a long time off.
    print(line, flush=True)


def meet(workers: dict[str, str], own: str, minutes: float, tell=_tell) -> None:
    """Waits until every worker has started.

    Args:
        workers: host:port by name, as in "worker 1".
        own: The name of this worker.
        minutes: How long to wait.
        tell: Called with a line if it has to wait.

    Raises:
        OptionError: the port of this worker is in use.
        WorkerLost: a worker did not start in time.
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
                    "(--start_minutes). Run the same command there, with its own "
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
    """Ends the process with a line if TensorFlow does not return in time.

    TensorFlow is then in C++, where no exception reaches it.
    """

    def give_up():
        print(
            f"error: the workers of the cluster did not agree within {seconds:g} "
            "seconds: one of them has ended, or another program answers at its "
            "address in TF_CONFIG. Run the same command again on all of them.",
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
    """Returns the error for a port that another process uses."""
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
    except OSError:  # Includes hosts not known yet, as while containers start.
        return False


def _listed(missing) -> str:
    return ", ".join(f"{name} ({place})" for name, place in missing.items())
