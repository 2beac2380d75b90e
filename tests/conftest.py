"""What every test may take for granted, however pytest was started."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def interrupts_as_in_a_terminal():
    """SIGINT raises KeyboardInterrupt, also where the shell had it ignored (`make test &`)."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
