"""The whole smoke rebuild on the services of `docker/prod` (PostgreSQL, S3, Dagster's processes),
and the same with its work on a Ray cluster of two nodes.

Opt-in, since it takes minutes: it needs PostgreSQL and `pip install 'paha[prod,ray]'`, and is
skipped without. `pytest -s` prints the figures of docs/operate.md.
"""

import os
import signal
import time

import dagster as dg
import pytest
from production import Services, processes_with, production, wait_for
from s3_server import BUCKET

STARTED = time.monotonic()


def say(*words: object) -> None:
    print(f"{time.monotonic() - STARTED:6.0f} s", *words, flush=True)


@pytest.fixture(scope="module", params=["processes", "ray"])
def executor(request):
    return request.param


@pytest.fixture(scope="module")
def services(executor, tmp_path_factory):
    with production(tmp_path_factory.mktemp("production"), executor == "ray") as started:
        say("services are up at", started.url, "with", executor)
        yield started


@pytest.fixture
def config(executor):
    """Of the runs: per-clip work by that executor."""
    workspace = {"preset": "smoke", "store": f"s3://{BUCKET}/run"}
    changes = {"changes": {"executor": executor}}
    return {"resources": {"workspace": {"config": workspace | changes}}}


def kill_worker(services: Services, run: str) -> None:
    """SIGKILL to the run's process; nothing of it may be left when the daemon has noticed."""
    os.kill(services.worker_of(run), signal.SIGKILL)
    assert services.end_of(run) == "FAILURE"
    wait_for(lambda: not processes_with(run))


def ended(services: Services, run: str, title: str) -> None:
    status = services.end_of(run)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(services.s3.counts.items()))
    total = sum(services.s3.counts.values())
    say(f"{title}: {services.seconds(run):.0f} s, {total} requests ({counts})")
    assert status == "SUCCESS", services.failures(run)


def test_a_rebuild_outlives_the_webserver_and_its_own_worker(services, executor, config):
    first = services.launch("smoke_rebuild", config)
    wait_for(lambda: services.steps(first) != 0)
    services.stop("web")
    services.start_webserver()
    say("webserver restarted; steps done:", services.steps(first))
    assert services.status(first) == "STARTED"
    if executor == "ray":  # while a job of it trains on both nodes
        wait_for(lambda: "RUNNING" in services.ray_jobs("univdm") or services.steps(first) < 0)
    else:
        wait_for(lambda: not 0 <= services.steps(first) < 8)  # in the middle of 30
    kill_worker(services, first)
    say(
        "worker killed after",
        len(services.events(first, dg.DagsterEventType.STEP_SUCCESS)),
        "steps",
    )

    services.s3.reset()
    second = services.launch("smoke_rebuild", config)
    ended(services, second, "rebuild, continued")
    computed = {
        event.materialization.asset_key.path[-1]: event.materialization.metadata["computed"].value
        for event in services.events(second, dg.DagsterEventType.ASSET_MATERIALIZATION)
    }
    assert computed["programmes"] == 0  # the first run's work is kept
    assert computed["report"] == 1
    if executor == "ray":  # the job that was left behind was ended, and another went on
        assert sorted(services.ray_jobs("univdm")) == ["STOPPED", "SUCCEEDED"]

    services.s3.reset()
    third = services.launch("smoke_rebuild", config)
    ended(services, third, "rebuild with nothing to do")
    assert sum(services.s3.counts.values()) < 300
    made = services.events(third, dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert {event.materialization.metadata["computed"].value for event in made} == {0}
