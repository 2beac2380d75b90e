"""The services of compose's profile `prod` as processes of this host: PostgreSQL, an S3 server, the
code server, the webserver and the daemon, with `docker/prod`'s own configuration."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from ray_cluster import ROOT, jobs_of, ray_cluster
from run_events import events_of, failures
from s3_server import BUCKET, Proxy, environment, free_ports, s3_server

from pipelines.reaper import _process_of

DASHBOARD = "RAY_DASHBOARD"  # of the cluster, in the services' environment
LIMIT = 3600.0  # seconds; only a hang is to be caught
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
STATUS = """query($r: ID!) { runOrError(runId: $r) { ... on Run { status
  stats { ... on RunStatsSnapshot { stepsSucceeded startTime endTime } } } } }"""


def job_selector(job: str) -> dict[str, Any]:
    """The job, as GraphQL names it."""
    return {"repositoryLocationName": "paha", "repositoryName": "__repository__", "jobName": job}


@contextmanager
def postgres() -> Iterator[int]:
    """A server with the role and the database `dagster`; its port."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    commands = found[-1] if found else Path(shutil.which("pg_ctl") or "/nowhere/x").parent
    if not (commands / "initdb").exists():
        pytest.skip("no PostgreSQL is installed")
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="paha-postgres-"))
    if as_owner:
        shutil.chown(folder, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*as_owner, str(commands / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    (port,) = free_ports(1)
    data = ("-D", str(folder / "data"))
    run("initdb", *data, "-A", "trust", "-U", "postgres")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run("pg_ctl", *data, "-o", options, "-l", str(folder / "log"), "-t", "600", "-w", "start")
    try:
        for sql in ("create role dagster login", "create database dagster owner dagster"):
            run("psql", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-c", sql)
        yield port
    finally:
        run("pg_ctl", *data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


class Services:
    """The running services; runs are launched and watched by GraphQL, as the UI does it."""

    def __init__(self, folder: Path, database: int, s3: Proxy, more: Mapping[str, str]) -> None:
        self.folder, self.s3 = folder, s3
        self.home = folder / "home"
        self.home.mkdir()
        self.code, self.web = free_ports(2)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._configure(database)
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PAHA_", "DAGSTER_", "AWS_"))
        } | {
            **environment(s3.port),
            "DAGSTER_HOME": str(self.home),
            "DO_NOT_TRACK": "1",
            "PAHA_DB_HOST": "127.0.0.1",
            "PAHA_DB_PASSWORD": "trusted",
            "PAHA_PRESET": "smoke",
            "PAHA_STORE": f"s3://{BUCKET}/run",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            **more,
        }

    def _configure(self, database: int) -> None:
        config = yaml.safe_load((ROOT / "docker/prod/dagster.yaml").read_text())
        del config["run_launcher"]  # the code server starts a process for each run
        config["storage"]["postgres"]["postgres_db"]["port"] = database
        for key in ("local_artifact_storage", "compute_logs"):
            config[key]["config"]["base_dir"] = str(self.folder / key)
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(config))
        workspace = yaml.safe_load((ROOT / "docker/prod/workspace.yaml").read_text())
        workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": self.code}
        (self.folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web}"

    def start(self, name: str, *command: str) -> None:
        with open(self.folder / f"{name}.log", "a") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def start_all(self) -> None:
        """In the order of `docker/compose.yaml`."""
        self._dagster("instance", "migrate")
        self.start_code()
        self.start_webserver()
        workspace = str(self.folder / "workspace.yaml")
        self.start("daemon", "dagster._daemon", "run", "--workspace", workspace)
        self.ask("{ version }")

    def start_code(self) -> None:
        where = ("-h", "127.0.0.1", "-p", str(self.code))
        self.start("code", "dagster", "code-server", "start", *where, "-m", "pipelines.definitions")
        health = ("api", "grpc-health-check", "-p", str(self.code))
        wait_for(lambda: not self._dagster(*health, check=False))

    def start_webserver(self) -> None:
        where = ("--host", "127.0.0.1", "--port", str(self.web))
        workspace = str(self.folder / "workspace.yaml")
        self.start("web", "dagster_webserver", *where, "--workspace", workspace)

    def stop(self, name: str, signum: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        process.wait()

    def _dagster(self, *arguments: str, check: bool = True) -> int:
        command = [sys.executable, "-m", "dagster", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, check=check, capture_output=True
        )
        return done.returncode

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The webserver's answer, once it answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            try:
                with urllib.request.urlopen(request, timeout=120) as response:
                    answers.append(json.load(response)["data"])
            except OSError:
                return False
            return True

        wait_for(answered)
        return answers[-1]

    def launch(
        self, job: str, config: Mapping[str, Any] | None = None, assets: list[str] | None = None
    ) -> str:
        """Start a run as the launchpad does; its id."""
        selector = job_selector(job)
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        parameters = {"selector": selector, "runConfigData": dict(config or {}), "mode": "default"}
        answer = self.ask(LAUNCH, p=parameters)["launchRun"]
        assert "run" in answer, answer
        return str(answer["run"]["runId"])

    def ray_jobs(self, stage: str) -> list[str]:
        """The statuses of the stage's jobs on Ray."""
        jobs = jobs_of(self.environment[DASHBOARD])
        return [status for job, status in jobs.items() if job.startswith(f"paha-{stage}-")]

    def status(self, run: str) -> str:
        return str(self.ask(STATUS, r=run)["runOrError"]["status"])

    def steps(self, run: str) -> int:
        """The steps of the run that succeeded, or -1 for a run that has ended."""
        answer = self.ask(STATUS, r=run)["runOrError"]
        return -1 if answer["status"] in ENDED else int(answer["stats"]["stepsSucceeded"])

    def end_of(self, run: str) -> str:
        """Waits for the end of the run; its last status."""
        wait_for(lambda: self.status(run) in ENDED, every=2.0)
        return self.status(run)

    def seconds(self, run: str) -> float:
        stats = self.ask(STATUS, r=run)["runOrError"]["stats"]
        return float(stats["endTime"]) - float(stats["startTime"])

    def events(self, run: str, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        """The run's events of that kind, read from PostgreSQL."""
        with self.instance() as instance:
            return events_of(instance, run, kind)

    def failures(self, run: str) -> str:
        """What the failed steps of the run say."""
        with self.instance() as instance:
            return failures(instance, run)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        added = {name: self.environment[name] for name in ("PAHA_DB_HOST", "PAHA_DB_PASSWORD")}
        os.environ.update(added)
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def worker_of(self, run: str) -> int:
        """The id of the run's own process."""
        found: list[int] = []

        def started() -> bool:
            with self.instance() as instance:
                if process := _process_of(instance, run):
                    found.append(process[0])
            return bool(found)

        wait_for(started)
        return found[0]


@contextmanager
def production(folder: Path, on_ray: bool = False) -> Iterator[Services]:
    """All services, started; with a Ray cluster for the work on clips, networks and results if it
    is asked for. Skips where PostgreSQL, Dagster's storage for it, or Ray is missing."""
    pytest.importorskip("dagster_postgres", reason="pip install 'paha[prod]'")
    (folder / "s3").mkdir()
    with (
        postgres() as database,
        s3_server(folder / "s3") as s3,
        _ray(folder, s3) if on_ray else nullcontext({}) as ray,
    ):
        services = Services(folder, database, s3, ray)
        try:
            services.start_all()
            yield services
        finally:
            for name in reversed(list(services.processes)):
                services.stop(name)


@contextmanager
def _ray(folder: Path, s3: Proxy) -> Iterator[dict[str, str]]:
    """A cluster whose nodes reach the store; what the services need in their environment."""
    with ray_cluster({**os.environ, **environment(s3.port)}) as (address, dashboard):
        job = {"address": dashboard, "python": sys.executable, "working_dir": str(ROOT)}
        groups = {"networks": {"ray": {**job, "hosts": 2}}, "results": {"ray": job}}
        launchers = folder / "launchers.yaml"
        launchers.write_text(yaml.safe_dump({"resources": {"launchers": {"config": groups}}}))
        yield {"PAHA_LAUNCHERS": str(launchers), "RAY_ADDRESS": address, DASHBOARD: dashboard}


def wait_for(happened: Callable[[], bool], every: float = 0.5, limit: float = LIMIT) -> None:
    deadline = time.monotonic() + limit
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit:g} s")
        time.sleep(every)


def processes_with(text: str) -> list[int]:
    """The processes of this host whose command line or environment has `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if text.encode() in seen and state != "Z":
                found.append(int(folder.name))
    return found
