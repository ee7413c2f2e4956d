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

    As a KeyboardInterrupt it is no `Exception`: nobody on its way may take it for a
    failure of what was being done.
    """


class Interruption:
    """Tells when to save and stop.

    As a context it turns `kill`, Ctrl-C and a closed terminal into stops. Until `defer`
    is called there is nothing to save, and a signal raises `Interrupted` at once. Then
    it is a request, which whoever loops over batches looks for; a second one stops at
    once.

    Args:
        minutes: Minutes until the stop, from now on, or None for no limit. It comes
            after a batch at the earliest, so that every start gets further.
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
            if handler is not None:  # Of C, which Python cannot put back.
                signal.signal(number, handler)

    def defer(self):
        """From here on signals are requests."""
        self._deferred = True

    @property
    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self._asked:
            return self._asked
        if self._end is not None and time.monotonic() >= self._end:
            return "--max_minutes"
        return None

    def listen(self):
        """Takes the signals, again where something else has taken them since."""
        for number in _SIGNALS:
            ignored = signal.getsignal(number) == signal.SIG_IGN
            # As `nohup` asks for. Shells have Ctrl-C ignored by what runs behind them.
            if not ignored or number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._ask)

    def _ask(self, number, _):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number).name
        if not self._deferred:
            raise Interrupted(
                f"{self._asked}: training had not begun, and nothing is lost. Give the "
                "same command again to begin it."
            )
