"""A wait for ever, as for a pipe, ends the test and not the suite."""

import contextlib
import signal


@contextlib.contextmanager
def fail_after(seconds):
    """Raises TimeoutError in what takes longer than these whole seconds."""

    def late(*_):
        raise TimeoutError(f"it hangs: it took {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
