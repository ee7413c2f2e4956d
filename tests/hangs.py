"""A wait for ever, as for a pipe, ends the test and not the suite."""

import contextlib
import signal

import pytest


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


@pytest.fixture(autouse=True)
def hangs_are_failures():
    """For every test of a file that imports it."""
    with fail_after(120):
        yield
