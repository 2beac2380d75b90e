"""What every test may take for granted, however pytest was started."""

import os
import signal

import pytest

# What the shell, or make, names as one's own preset and store is no setting of the tests.
for _name in [name for name in os.environ if name.startswith("PAHA_")]:
    del os.environ[_name]


@pytest.fixture(scope="session", autouse=True)
def own_configuration_folder(tmp_path_factory):
    """The test certificate that videos are signed with is made here, not in the user's folder."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("configuration"))


@pytest.fixture(scope="session", autouse=True)
def interrupts_as_in_a_terminal():
    """SIGINT raises KeyboardInterrupt, also where the shell had it ignored (`make test &`)."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
