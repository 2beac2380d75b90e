"""Jobs of Slurm, by its own commands: sbatch, squeue, scancel.

A thin client: it does not use the accounting database, since many sites have none. The job's script
writes the exit code beside its log, in a folder that the hosts share as they share the project.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field, field_validator

from assets.launchers.cluster import LOST, ClusterJob
from paha_core.engine.processes import INTERRUPTED
from paha_core.errors import UserError

# squeue's states of a job that has ended; all other states may still change.
FINAL = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
FINAL |= {"OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}
MEMORY = re.compile(r"\d+([KMGT]i?B?)?", re.IGNORECASE)
TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
RESUMABLE = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}  # ended by the host, not by the stage


class SlurmLauncher(dg.Config, extra="forbid"):
    """Stages of this group are jobs of Slurm."""

    kind: Literal["slurm"] = "slurm"
    partition: str = Field("", description="empty: the cluster's default")
    hosts: int = Field(1, ge=1, description="of each training that can be shared (torchrun)")
    gpus: int = Field(0, ge=0, description="of each host")
    cpus: int = Field(0, ge=0, description="of each host; 0: the cluster's default")
    memory: str = Field("", description="of each host, such as 64G")
    time_limit: str = Field("", description="D-HH:MM:SS; before it ends a checkpoint is saved")
    options: list[str] = Field([], description="more of sbatch's: --account=lab, --qos=low")
    setup: str = Field("", description="shell lines before the command, such as module load")
    environment: dict[str, str] = Field({}, description="more variables of its processes")
    python: str = Field(sys.executable, description="that has this project, on the hosts")
    folder: str = Field(".dagster/slurm", description="scripts and logs; shared by the hosts")
    resumes: int = Field(100, ge=0, description="how often an interrupted stage is submitted again")

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str) -> str:
        if value and not MEMORY.fullmatch(value):
            raise ValueError(f"{value!r} is not an amount of Slurm's, such as 64G")
        return value

    @field_validator("time_limit")
    @classmethod
    def _time_limit(cls, value: str) -> str:
        if value and not TIME.fullmatch(value):
            raise ValueError(
                f"{value!r} is not a time of Slurm's, such as 1-00:00:00; 0 is no limit"
            )
        return value

    @property
    def limit_seconds(self) -> int:
        """0: no limit. Without days, one number is minutes, and two are minutes:seconds."""
        days, _, clock = self.time_limit.rpartition("-")
        parts = [int(part) for part in (clock or "0").split(":")]
        if not days and len(parts) < 3:
            parts.insert(0, 0)
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class Slurm:
    """A `Cluster` for the settings of a `SlurmLauncher`."""

    def __init__(self, settings: SlurmLauncher) -> None:
        self.settings, self.python = settings, settings.python
        self.folder = Path(settings.folder).absolute()
        self.files: dict[str, Path] = {}  # of each job, without suffix
        self.read: dict[str, int] = {}  # bytes of its log
        self.states: dict[str, str] = {}

    def submit(self, job: ClusterJob) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self.folder / job.name
        script = files.with_suffix(".sh")
        script.write_text(self.script(job))
        identity = _slurm("sbatch", "--parsable", str(script)).split(";")[0].strip()
        self.files[identity], self.read[identity] = files, 0
        return identity

    def script(self, job: ClusterJob) -> str:
        """The batch script of a job."""
        settings, files = self.settings, self.folder / job.name
        wanted = {
            "job-name": job.name,
            "output": files.with_suffix(".log"),
            "nodes": job.hosts,
            "ntasks-per-node": 1,
            "partition": settings.partition,
            "gpus-per-node": settings.gpus,
            "cpus-per-task": settings.cpus,
            "mem": settings.memory,
            "time": settings.time_limit,
            # SIGTERM to the trainers in time for a checkpoint before the limit
            "signal": f"TERM@{int(job.grace)}" if settings.time_limit else "",
        }
        options = [f"--{name}={value}" for name, value in wanted.items() if value]
        variables = settings.environment | job.environment
        command = shlex.quote(f"NODE_RANK=$SLURM_NODEID exec {shlex.join(job.command)}")
        exit_file = shlex.quote(str(files.with_suffix(".exit")))
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"#SBATCH {option}" for option in (*options, "--no-requeue", *settings.options)),
                settings.setup,
                *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
                "export NNODES=$SLURM_JOB_NUM_NODES",
                'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
                "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
                f"srun bash -c {command}",
                "code=$?",
                f"echo $code > {exit_file}.tmp && mv {exit_file}.tmp {exit_file}",
                "exit $code",
                "",
            ]
        )

    def exit_code(self, job: str) -> int | None:
        state = self._state(job)
        if state and state not in FINAL:
            return None
        exit_file = self.files.get(job, Path(job)).with_suffix(".exit")
        if exit_file.exists():
            return int(exit_file.read_text())
        self.states[job] = state or "gone"  # `new_log` names it
        return INTERRUPTED if state in RESUMABLE else LOST

    def cancel(self, job: str) -> None:
        if self._state(job) == "PENDING":
            self.kill(job)
        else:
            _slurm("scancel", "--signal=TERM", job)  # the job's steps, not its script

    def kill(self, job: str) -> None:
        _slurm("scancel", job)

    def new_log(self, job: str) -> str:
        log = self.files[job].with_suffix(".log")
        if not log.exists():
            return ""
        with open(log, "rb") as file:
            file.seek(self.read[job])
            data = file.read()
        self.read[job] += len(data)
        state = self.states.pop(job, "")
        return data.decode(errors="replace") + (f"Slurm: job {job} is {state}\n" if state else "")

    def _state(self, job: str) -> str:
        """The job's state in squeue; empty where Slurm no longer knows the job."""
        asked = subprocess.run(
            ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return "UNKNOWN"  # the controller does not answer; the job may well run
        return asked.stdout.strip().partition("\n")[0]


def _slurm(*command: str) -> str:
    """Raises `UserError` with Slurm's own message."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(
            f"no {command[0]} on this machine: run Dagster where Slurm's commands are"
        ) from None
    if done.returncode:
        raise UserError(f"{shlex.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
