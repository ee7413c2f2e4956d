"""Stops a training early: on a signal, or when its time is up."""

import signal
import time

# `kill`, Ctrl-C, a closed terminal; the last is missing on Windows.
_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)
]


class Interrupted(BaseException):
    """Training has saved and stopped; the same command resumes it.

    Like KeyboardInterrupt it is not an `Exception`, so that no handler on its way takes
    it for a failure of what was being done.
    """


class Interruption:
    """Tells when to save and stop.

    As a context manager it turns `kill`, Ctrl-C and a closed terminal into stops. Until
    `defer` is called there is nothing to save, and a signal raises `Interrupted` at
    once. From then on a signal is a request, which loops over batches check for; a
    second signal stops at once.

    Args:
        minutes: Minutes from now until the stop, or None for no limit. The stop comes
            after a batch at the earliest, so that every start makes progress.
    """

    def __init__(self, minutes=None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._asked = None
        self._deferred = False

    def __enter__(self):
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            if handler is not None:  # None was set from C; Python cannot restore it.
                signal.signal(number, handler)

    def defer(self):
        """Makes signals requests from here on."""
        self._deferred = True

    @property
    def reason(self) -> str | None:
        """The reason to stop now, or None."""
        if self._asked:
            return self._asked
        if self._end is not None and time.monotonic() >= self._end:
            return "--max_minutes"
        return None

    def listen(self):
        """Handles the signals, again if something else has taken them since."""
        for number in _SIGNALS:
            ignored = signal.getsignal(number) == signal.SIG_IGN
            # `nohup` ignores SIGHUP on purpose; shells ignore Ctrl-C for background
            # jobs, which is overridden.
            if not ignored or number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._ask)

    def _ask(self, number, _):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number).name
        if not self._deferred:
            raise Interrupted(
                f"{self._asked}: training had not begun, and nothing is lost. Run the "
                "same command again to start it."
            )
