"""Stops: at once where nothing is to be saved, else where somebody looks."""

import contextlib
import os
import signal
import time

import pytest

from trainers.interruption import Interrupted, Interruption

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_training_a_signal_stops_at_once(number):
    name = signal.Signals(number).name
    with pytest.raises(Interrupted, match=f"{name}: training had not begun"):
        with Interruption():
            os.kill(os.getpid(), number)
            time.sleep(10)


@pytest.mark.parametrize("number", SIGNALS)
def test_then_it_is_a_request_and_a_second_one_stops_at_once(number):
    with Interruption() as interruption:
        interruption.defer()
        assert interruption.reason is None
        os.kill(os.getpid(), number)
        assert interruption.reason == signal.Signals(number).name
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_nobody_takes_a_stop_for_a_failure():
    """As libraries and builders of data sets catch `Exception`."""
    with pytest.raises(Interrupted), Interruption(), contextlib.suppress(Exception):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)


def test_handlers_are_put_back_and_taken_again():
    """A cluster of TensorFlow takes that of SIGTERM while it starts."""
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        interruption.defer()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interruption.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            interruption.defer()
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruption.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_minutes_count_from_the_beginning():
    with Interruption(1e-9) as interruption:
        assert interruption.reason == "--max_minutes"
    with Interruption(1e30) as interruption:
        assert interruption.reason is None
