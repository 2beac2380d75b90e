"""Runs a stage as a job of a cluster: submits it, watches it, and ends it with the run. What
differs between Slurm, Ray and Kubernetes is a `Cluster`; all else is here. The job gets preset and
context through the store, which is the only thing that its hosts must share.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import dagster as dg
import yaml

from assets.launchers.messages import StoreContextInjector, StoreMessageReader
from assets.launchers.remote import LAUNCH, PRESET
from assets.process import OBSERVE_EVERY, observe, outcome
from paha_core.errors import UserError
from paha_core.stages import Workspace
from paha_core.stages.stage_report import StageReport
from paha_core.store import Store
from paha_core.trained import PARALLEL

JOBS = "launches"  # folder of the store: what jobs read and write while they run
POLL = 2.0  # seconds between two polls of a job
WORKER = ("-m", "assets.worker")
NOT_ITS_OWN = re.compile("srun: |slurmstepd").match  # of a job's log
LOST = -9  # the exit code of a job that was killed


@dataclass(frozen=True)
class ClusterJob:
    """A job to submit: `command` on each of `hosts` hosts, with torchrun's NNODES,
    NODE_RANK, MASTER_ADDR and MASTER_PORT where there are several."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    hosts: int = 1
    grace: float = 60.0  # seconds between SIGTERM and SIGKILL


class Settings(Protocol):
    """The fields that every launcher's config has."""

    @property
    def hosts(self) -> int: ...

    @property
    def resumes(self) -> int: ...


class Cluster(Protocol):
    """A scheduler's client."""

    @property
    def settings(self) -> Settings: ...

    @property
    def python(self) -> str:
        """The interpreter that has this project, on the cluster's hosts."""
        ...

    def submit(self, job: ClusterJob) -> str:
        """Returns the scheduler's id of the job. Raises `UserError` when it is refused."""
        ...

    def exit_code(self, job: str) -> int | None:
        """None while the job waits or runs, `LOST` when it ended without one. 75: it was
        interrupted, or lost its host, and can be resumed."""
        ...

    def cancel(self, job: str) -> None:
        """SIGTERM to every process of the job, or no start if it still waits."""
        ...

    def kill(self, job: str) -> None:
        """End whatever is left of the job at once."""
        ...

    def new_log(self, job: str) -> str:
        """What its processes have printed since the last call."""
        ...


def run_on_cluster(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    stage: str,
    cluster: Cluster,
    datasets: list[str] | None = None,
    worker: Sequence[str] = WORKER,
) -> StageReport:
    """Run the stage as a job of `cluster`; returns its report.

    Its log goes to this step's stdout, its figures to observations. However this ends, also by a
    cancel in the UI, the job gets SIGTERM, has `trainer.grace_seconds` to save a checkpoint, and is
    killed then. A job that a killed run left behind is ended first. Raises `dg.Failure` with the
    job's own message, and `dg.RetryRequested` for one that can be resumed.
    """
    store, trainer = workspace.store, workspace.preset.trainer
    _end_orphan(context, store, stage, cluster, trainer.grace_seconds)
    name = f"paha-{stage.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
    folder = f"{JOBS}/{stage}/{name}"
    settings = workspace.preset.model_dump(mode="json")
    store.write_bytes(f"{folder}/{PRESET}", yaml.safe_dump(settings, sort_keys=False).encode())
    processes = trainer.processes if stage in PARALLEL else 1
    place = str(Path(store.root).absolute()) if store.is_local else store.url
    with (
        _removed(store, folder),
        dg.open_pipes_session(
            context,
            StoreContextInjector(store, folder),
            StoreMessageReader(store, folder),
            extras={"datasets": datasets, "speakers": list(workspace.speakers)},
        ) as session,
    ):
        launch = [cluster.python, "-m", "paha_core.training.launch"]
        job = ClusterJob(
            name,
            [*launch, str(processes), str(trainer.grace_seconds), cluster.python, *worker, stage],
            {"PAHA_STORE": place, LAUNCH: folder, "PYTHONUNBUFFERED": "1"}
            | {n: v for n, v in os.environ.items() if n == "PAHA_FRONTEND"}
            | dict(session.get_bootstrap_env_vars()),
            cluster.settings.hosts if stage in PARALLEL else 1,
            trainer.grace_seconds,
        )
        identity = cluster.submit(job)
        context.log.info("%s is job %s of %s", stage, identity, type(cluster).__name__)
        try:
            store.write_json(_record(stage), {"job": identity, "run": context.run_id})
            code, last_line = _watch(context, session, cluster, identity)
        finally:
            _end(cluster, identity, job.grace)
            store.remove(_record(stage))
    messages = session.get_custom_messages()
    return outcome(context, stage, code, messages, cluster.settings.resumes, last_line)


@contextlib.contextmanager
def _removed(store: Store, folder: str) -> Iterator[None]:
    """Whatever is in the folder is removed after the block, also when the job was cancelled."""
    try:
        yield
    finally:
        store.remove(folder)


def _record(stage: str) -> str:
    return f"{JOBS}/{stage}.json"


def _watch(
    context: dg.AssetExecutionContext, session: dg.PipesSession, cluster: Cluster, job: str
) -> tuple[int, str]:
    """Forward log and metrics while the job runs; returns its exit code and last line."""
    observed, last_line = time.monotonic(), ""
    while True:
        code = cluster.exit_code(job)
        if text := cluster.new_log(job):
            sys.stdout.write(text)
            sys.stdout.flush()
            own = [line for line in text.splitlines() if line.strip() and not NOT_ITS_OWN(line)]
            last_line = own[-1] if own else last_line
        if code is not None:
            return code, last_line
        if time.monotonic() - observed > OBSERVE_EVERY:
            observed = time.monotonic()
            observe(context, session)
        time.sleep(POLL)


def _end(cluster: Cluster, job: str, grace: float) -> None:
    """Nothing to do for a job that has ended; else cancel, wait for `grace` seconds, kill."""
    if cluster.exit_code(job) is None:
        cluster.cancel(job)
        deadline = time.monotonic() + grace
        while cluster.exit_code(job) is None and time.monotonic() < deadline:
            time.sleep(POLL)
    with contextlib.suppress(UserError):  # the scheduler may no longer know the job
        cluster.kill(job)


def _end_orphan(
    context: dg.AssetExecutionContext, store: Store, stage: str, cluster: Cluster, grace: float
) -> None:
    """End the job of a run that was killed before it could: such a job continues to train and holds
    the network's claim. The job of a run that is still active is kept; its claim refuses this one.
    """
    record = store.read_json(_record(stage), absent=None)
    if record is None:
        return
    run = context.instance.get_run_by_id(record["run"])
    if run is None or run.is_finished or run.run_id == context.run_id:
        context.log.warning("ending job %s of the run %s", record["job"], record["run"])
        _end(cluster, record["job"], grace)
        store.remove(_record(stage))
