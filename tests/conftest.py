"""What every test may take for granted, however pytest was started."""

import os
import signal
from contextlib import contextmanager

import pytest

# What the shell, or make, names as one's own preset and store is no setting of the tests.
for _name in [name for name in os.environ if name.startswith("PAHA_")]:
    del os.environ[_name]

# Networks this small wait for their threads longer than they compute, the more so where `make test`
# has a process for each core; and sums are equal to the bit in all processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

# Ray's clusters of tests are on loopback: no token is left in the home folder, and none asked for.
os.environ["RAY_AUTH_MODE"] = "disabled"


# The files that take longest, longest first: begun last, one would keep a process of `make test`
# busy while the other has nothing left.
LONGEST = (
    "test_shell.py",
    "test_distributed.py",
    "test_held_out.py",
    "test_tiny_suites.py",
    "test_serve.py",
    "test_run.py",
    "test_trainer.py",
    "test_pairs.py",
    "test_ingest.py",
    "test_parallel.py",
    "test_report.py",
    "test_object_store.py",
    "test_suites.py",
    "test_sync_filter.py",
    "test_people.py",
    "test_video_encoder.py",
    "test_export.py",
    "test_study.py",
    "test_systems.py",
    "test_launchers.py",
    "test_daemon.py",
    "test_cnas.py",
    "test_negatives.py",
    "test_job_in_process.py",
    "test_plan.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, all others in the order in which they were found; tests marked `gpu` are
    skipped without a CUDA device."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        skipped = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
        for item in on_gpu:
            item.add_marker(skipped)


@pytest.fixture(scope="session")
def in_this_process():
    """A context in which stages do per-clip work in this process: a worker's start takes longer
    than the work on a few small clips."""

    @contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("paha_core.stages.data.executor_of", lambda preset: 0)
            yield

    return context


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
