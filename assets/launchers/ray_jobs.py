"""Jobs of a Ray cluster, by Ray's own job API."""

from __future__ import annotations

import shlex
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from assets.launchers.cluster import LOST, ClusterJob
from paha_core.engine.processes import INTERRUPTED
from paha_core.errors import UserError


class RayLauncher(dg.Config, extra="forbid"):
    """Stages of this group are jobs of a Ray cluster."""

    kind: Literal["ray"] = "ray"
    address: str = Field("http://127.0.0.1:8265", description="of the cluster's dashboard")
    hosts: int = Field(1, ge=1, description="of each training that can be shared (torchrun)")
    gpus: float = Field(0, ge=0, description="of each host")
    cpus: float = Field(1, ge=0, description="of each host")
    resources: dict[str, float] = Field({}, description="custom resources that pick the nodes")
    working_dir: str = Field("", description="folder to start in, the same on every node")
    environment: dict[str, str] = Field({}, description="more variables of its processes")
    python: str = Field("python", description="that has this project, on the nodes")
    resumes: int = Field(100, ge=0, description="how often an interrupted stage is submitted again")


class Ray:
    """A `Cluster` for the settings of a `RayLauncher`."""

    def __init__(self, settings: RayLauncher) -> None:
        try:
            from ray.exceptions import AuthenticationError
            from ray.job_submission import JobSubmissionClient
        except ImportError:
            raise UserError(
                "the ray launcher needs Ray: pip install 'paha[ray]' 'ray[default]'"
            ) from None
        self.settings, self.python = settings, settings.python
        try:
            self.client: Any = JobSubmissionClient(settings.address)
        except AuthenticationError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"Ray at {settings.address} refused this process: {reason}. Set "
                "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's"
            ) from None
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"no Ray cluster at {settings.address}: {error}") from None
        self.read: dict[str, int] = {}  # characters of each job's log

    def submit(self, job: ClusterJob) -> str:
        settings = self.settings
        each = {"CPU": settings.cpus, "GPU": settings.gpus, **settings.resources}
        command, wanted = shlex.join(job.command), dict(each)
        if job.hosts > 1:
            shares = [f"{name}={amount}" for name, amount in each.items() if amount]
            spread = [self.python, "-m", "assets.launchers.ray_hosts", str(job.hosts), *shares]
            command, wanted = shlex.join([*spread, "--", *job.command]), {}
        if settings.working_dir:
            command = f"cd {shlex.quote(settings.working_dir)} && exec {command}"
        # Ray's own grace between SIGTERM and SIGKILL is 3 s, which saves no checkpoint
        own = {"RAY_JOB_STOP_WAIT_TIME_S": str(int(job.grace))}
        try:
            submitted = self.client.submit_job(
                entrypoint=command,
                submission_id=job.name,
                runtime_env={"env_vars": settings.environment | job.environment | own},
                entrypoint_num_cpus=wanted.pop("CPU", 0),
                entrypoint_num_gpus=wanted.pop("GPU", 0),
                entrypoint_resources=wanted or None,
            )
        except (RuntimeError, OSError) as error:  # it is busy, or does not answer
            raise UserError(f"Ray does not take the job: {error}") from None
        self.read[submitted] = 0
        return str(submitted)

    def exit_code(self, job: str) -> int | None:
        try:
            details = self.client.get_job_info(job)
        except RuntimeError:  # Ray no longer knows the job
            return LOST
        if details.status not in ("SUCCEEDED", "FAILED", "STOPPED"):
            return None
        if details.driver_exit_code is not None:
            return int(details.driver_exit_code)
        if details.status == "SUCCEEDED":
            return 0
        return LOST if details.status == "STOPPED" else INTERRUPTED  # its node was lost

    def cancel(self, job: str) -> None:
        try:
            self.client.stop_job(job)
        except (RuntimeError, OSError) as error:
            raise UserError(f"Ray does not stop {job}: {error}") from None

    def kill(self, job: str) -> None:
        """Ray kills what is left itself, `RAY_JOB_STOP_WAIT_TIME_S` after `cancel`."""

    def new_log(self, job: str) -> str:
        try:
            log = str(self.client.get_job_logs(job))
        except (RuntimeError, OSError):  # none yet, or no answer
            return ""
        start = self.read.get(job, 0)
        self.read[job] = len(log)
        return log[start:]
