"""Stops a training early: on a signal, or when its time is up."""

import signal
import time


class Interrupted(Exception):
    """Training has saved and stopped; the same command resumes it."""


class Interruption:
    """Tells when to save and stop.

    As a context it turns SIGTERM and Ctrl-C into requests; a second one stops at once.

    Args:
        minutes: Minutes until the stop, or None for no limit.
    """

    def __init__(self, minutes=None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._asked = None

    def __enter__(self):
        self._before = {
            number: signal.signal(number, self._ask)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number, _):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number).name

    @property
    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self._asked:
            return self._asked
        if self._end is not None and time.monotonic() >= self._end:
            return "--max_minutes"
        return None
